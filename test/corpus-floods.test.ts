/** Modules that flood, and bad ones in C, beside one that is right. Also run against the binary (HRMR_BIN). */
import { BAD_FLOODS } from "./support/corpus";
import { testCorpus } from "./support/corpus-run";

testCorpus(BAD_FLOODS);
