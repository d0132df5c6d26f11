#!/usr/bin/env bash
# restore.sh FOLDER HOME: a folder of backup.sh into an empty home and the three databases, which must be empty. Stop every server
# and the daemon before.
set -euo pipefail
folder=$1 home=$2
if [ -n "$(ls -A "$home")" ]; then
    echo "$home · it is not empty; legal: an empty folder. Name another one, or empty it." >&2
    exit 1
fi
for name in LEDGER MLFLOW_STORE DAGSTER_STORAGE; do
    url=MLOPS_$name  # Dagster's names its driver, which Postgres' own tools do not know
    pg_restore --no-owner --exit-on-error --single-transaction --dbname="${!url/+psycopg2/}" "$folder/$name.dump"
done
tar --extract --gzip --file="$folder/home.tar.gz" --directory="$home"
echo "$home · restored. Run \`mlops ledger verify\` before you start the servers."
