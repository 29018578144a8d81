/** How a server of several processes ends, and what a SIGHUP changes. */
import { testGraceful } from "../support/graceful";

testGraceful(2);
