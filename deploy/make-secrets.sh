#!/bin/sh
# Make every secret that docker-compose.yml names, each a random file with mode 0600 below ./secrets, and .env if missing.
#
# Usage: deploy/make-secrets.sh            run it again at any time: what exists is never changed
#        deploy/make-secrets.sh --root DIR another folder than the repository (tests)
#
# A lost secret: token_key cannot be replaced without breaking every token (docs/runbook.md, "wrong key"); the others can:
# delete the file, run this script, then `docker compose up -d migrate` sets the role's new password.
# New TLS certificate: delete postgres_tls_cert and postgres_tls_key, run this script, restart postgres.
set -eu
umask 077

root=$(cd "$(dirname "$0")/.." && pwd)
here=$root
[ "${1:-}" = --root ] && root=$2
folder=$root/secrets

for program in openssl cmp; do
    command -v "$program" >/dev/null || { echo "make-secrets: $program is not installed" >&2; exit 1; }
done

mkdir -p "$folder" "$root/extracts"
chmod 700 "$folder"
chmod 755 "$root/extracts"
if [ ! -e "$root/.env" ]; then
    # containers must not run as root: an account number that no one else has, as Airflow's own image does
    owner=$(id -u)
    [ "$owner" -ne 0 ] || owner=50000
    sed "s/^EDUPA_UID=.*/EDUPA_UID=$owner/" "$here/.env.example" > "$root/.env"
fi
owner=$(sed -n 's/^EDUPA_UID=//p' "$root/.env")
case $owner in
    '' | *[!0-9]* | 0) echo "make-secrets: EDUPA_UID in $root/.env must be the number of an account other than root" >&2; exit 1 ;;
esac

made=0
# keep NAME: standard input becomes the secret, unless there is one; written aside first, so that no half of one stays
keep() {
    if [ -s "$folder/$1" ]; then
        cat > /dev/null
        return
    fi
    cat > "$folder/.$1.part"
    [ -s "$folder/.$1.part" ] || { echo "make-secrets: nothing to write for $1" >&2; exit 1; }
    mv "$folder/.$1.part" "$folder/$1"
    made=$((made + 1))
}
# derive NAME: like keep, but a secret that is made of another one follows it
derive() {
    if [ -s "$folder/$1" ] && ! cmp -s "$folder/.word" "$folder/$1"; then
        rm "$folder/$1"
    fi
    keep "$1" < "$folder/.word"
}
word() { openssl rand -hex 32 | tr -d '\n'; }
read_secret() { cat "$folder/$1"; }

for name in admin ingest transform gatekeeper publisher evaluator bi steward approver auditor prerelease watchdog \
    airflow superset token_key rounding_key airflow_api_secret superset_secret_key superset_admin; do
    word > "$folder/.word"
    keep "$name" < "$folder/.word"
done
{ openssl rand -hex 48 | tr -d '\n'; } > "$folder/.word" && keep airflow_jwt < "$folder/.word"
{ openssl rand -base64 32 | tr '+/' '-_' | tr -d '\n'; } > "$folder/.word" && keep airflow_fernet < "$folder/.word"

# the key that signs the manifests of releases (docs/seal.md)
openssl genpkey -algorithm ed25519 > "$folder/.word"
keep release_signing_key < "$folder/.word"

# secrets made of other secrets
printf 'postgresql+psycopg2://edupa_airflow:%s@postgres:5432/airflow' "$(read_secret airflow)" > "$folder/.word"
derive airflow_conn
printf '{"admin": "%s"}\n' "$(word)" > "$folder/.word"
keep airflow_users < "$folder/.word"
printf 'bind * -::*\nport 6379\nprotected-mode yes\nsave ""\nappendonly no\ndir /data\nmaxmemory 256mb\nmaxmemory-policy noeviction\nrequirepass %s\n' \
    "$(word)" > "$folder/.word"
keep redis_conf < "$folder/.word"
printf 'redis://:%s@redis:6379/0' "$(sed -n 's/^requirepass //p' "$folder/redis_conf")" > "$folder/.word"
derive airflow_broker
rm -f "$folder/.word"

# TLS: a certificate authority of our own, and PostgreSQL's certificate signed by it
if [ ! -s "$folder/postgres_ca" ] || [ ! -s "$folder/postgres_ca_key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 \
        -subj "/O=edupa/CN=edupa internal CA" -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$folder/postgres_ca_key" -out "$folder/postgres_ca" 2> /dev/null
    rm -f "$folder/postgres_tls_cert" "$folder/postgres_tls_key"
    made=$((made + 2))
fi
if [ ! -s "$folder/postgres_tls_cert" ] || [ ! -s "$folder/postgres_tls_key" ]; then
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/O=edupa/CN=postgres" \
        -keyout "$folder/postgres_tls_key" -out "$folder/.csr" 2> /dev/null
    printf 'subjectAltName=DNS:postgres,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n' \
        > "$folder/.extensions"
    openssl x509 -req -in "$folder/.csr" -CA "$folder/postgres_ca" -CAkey "$folder/postgres_ca_key" -days 825 -sha256 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$folder/.extensions" -out "$folder/postgres_tls_cert" 2> /dev/null
    rm -f "$folder/.csr" "$folder/.extensions"
    made=$((made + 2))
fi

chmod 600 "$folder"/*
if [ "$(id -u)" -eq 0 ]; then
    chown "$owner" "$folder" "$folder"/*
elif [ "$(id -u)" -ne "$owner" ]; then
    echo "make-secrets: .env says EDUPA_UID=$owner but the files belong to $(id -u): set it to $(id -u)" >&2
    exit 1
fi
echo "make-secrets: $made made, $(find "$folder" -type f | wc -l) files in $folder"
