#!/usr/bin/env bash
# backup.sh HOME FOLDER: a folder of today in FOLDER, with the three databases and the home. The newest fourteen are kept.
set -euo pipefail
home=$1 folder=$2/$(date -u +%Y-%m-%dT%H%M%SZ)
mkdir -p "$folder.part"
for name in LEDGER MLFLOW_STORE DAGSTER_STORAGE; do
    url=MLOPS_$name  # Dagster's names its driver, which Postgres' own tools do not know
    pg_dump --format=custom --file="$folder.part/$name.dump" "${!url/+psycopg2/}"
done
tar --create --gzip --file="$folder.part/home.tar.gz" --exclude=./dagster/compute_logs --directory="$home" .
mv "$folder.part" "$folder"  # a folder without .part is whole
find "$2" -mindepth 1 -maxdepth 1 -name '*Z' | sort | head -n -14 | xargs -r rm -r
echo "$folder"
