#!/bin/sh
# Fetches Apache Kafka from Maven Central into .tools/kafka (54 MB) for 'make kafka-test', with Debian's Maven and JRE.
# .tools/bin/kafka-java is java with these jars.
set -eu
cd "$(dirname "$0")/.."
pins=scripts/kafka.xml
home="$PWD/.tools/kafka"
stamp="$home/.installed"
if [ -x .tools/bin/kafka-java ] && cmp -s "$pins" "$stamp"; then exit 0; fi
if ! { command -v java && command -v mvn; } >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "java and mvn are not installed: Kafka is not fetched; install openjdk-17-jre-headless and maven" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends openjdk-17-jre-headless maven
fi
rm -rf "$home"
mkdir -p "$home" .tools/bin
nice mvn -q -B -f "$pins" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$home/libs"
printf '#!/bin/sh\nexec java -cp "%s/libs/*" "$@"\n' "$home" > .tools/bin/kafka-java
chmod +x .tools/bin/kafka-java
cp "$pins" "$stamp"
