"""A bot in Python: it plays, and tells the hub when it wins.

  hrmr client --lang python --out bots/hub.py
  python3 bots/bot.py ada 20
"""
import os
import random
import sys
import time

from hub import CallError, Client

player = sys.argv[1] if len(sys.argv) > 1 else "ada"
games = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000

hub = Client(token=os.environ.get("HUB_TOKEN"))

def play():
    # Read each time: another bot, or a person, may change it.
    points = hub.scores.settings()["pointsPerWin"]
    if random.random() < 0.6:
        print(player, hub.scores.add(player=player, points=points), flush=True)


for _ in range(games):
    try:
        play()
    except CallError as error:
        if error.code != "DISCONNECTED":
            raise
        print(player, "waits for the hub", flush=True)
    time.sleep(random.random() * 0.2)
