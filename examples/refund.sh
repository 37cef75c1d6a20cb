set -euo pipefail

amount=$(zrb-store step compute -- sh -c 'echo computed >>computed; expr 70 + 50')

answer=$(zrb-store wait approve --timeout 2d --say "Refund $amount?")

zrb-store step pay --once -- sh -c 'echo "$1 $2" >>paid' pay "$amount" "$answer"
echo "refunded $amount"
