/** Modules that do harm when they are called, beside one that is right. Also run against the binary (HRMR_BIN). */
import { BAD_CALLS } from "./support/corpus";
import { testCorpus } from "./support/corpus-run";

testCorpus(BAD_CALLS);
