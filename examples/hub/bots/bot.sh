#!/bin/sh
# A bot in a shell: it adds a point each second, or as many times as you say.
#
#   sh bots/bot.sh eve 3
player=${1:-eve}
games=${2:-1000000}
while [ "$games" -gt 0 ]; do
  hrmr call scores.add "{\"player\":\"$player\",\"points\":1}"
  games=$((games - 1))
  if [ "$games" -gt 0 ]; then sleep 1; fi
done
