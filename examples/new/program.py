"""One line in, one line out. print(..., file=sys.stderr) writes to the server's log."""
import sys

for line in sys.stdin:
    name = line.rstrip("\n")[len("COMMAND "):]
    print(f"Hello, {name}", flush=True)
