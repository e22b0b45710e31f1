#!/usr/bin/env bash
# Fetch engines from Maven Central and compile what starts them.
#   fetch.sh FOLDER [NAME..]
# Each engine becomes FOLDER/NAME/{lib,modules,start}. An engine whose pom.xml
# and Start.java have not changed since is left as it is. Without names: all.
set -euo pipefail
sources=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
shift
if [ $# = 0 ]; then
  for pom in "$sources"/*/pom.xml; do set -- "$@" "$(basename "$(dirname "$pom")")"; done
fi

# Elasticsearch 9 and OpenSearch 3 are compiled for 21: the newest JDK reads them all.
newest_jdk() {
  for jdk in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
    if [ -x "$jdk/bin/javac" ]; then
      echo "$("$jdk/bin/javac" -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/') $jdk"
    fi
  done | sort -n | tail -1
}
read -r jdk_version jdk <<<"$(newest_jdk)"

for name in "$@"; do
  case $name in
    elasticsearch-6.*) start=elasticsearch-6 release=17 ;;
    elasticsearch-7.*) start=elasticsearch-7 release=17 ;;
    elasticsearch-8.*) start=elasticsearch-8 release=17 ;;
    elasticsearch-9.*) start=elasticsearch-8 release=21 ;;
    opensearch-2.*) start=opensearch release=17 ;;
    opensearch-3.*) start=opensearch release=21 ;;
    # Its own jars have what starts it.
    kafka-*) start= release=17 ;;
    *) echo "no engine is called $name" >&2; exit 1 ;;
  esac
  if [ "$release" -gt "$jdk_version" ]; then
    echo "$name: skipped, it needs JDK $release, the newest here is $jdk_version"
    continue
  fi
  engine=$target/$name
  done=$engine/.complete
  if [ "$done" -nt "$sources/$name/pom.xml" ] && { [ -z "$start" ] || [ "$done" -nt "$sources/start/$start/Start.java" ]; }; then
    continue
  fi
  echo "$name: fetching"
  rm -rf "$engine"
  mkdir -p "$engine/lib" "$engine/modules" "$engine/start"
  mvn -q -B -f "$sources/$name/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$engine/lib" -DincludeScope=runtime -Dstyle.color=never
  if [ "$name" = elasticsearch-6.1.3 ]; then
    # Painless must find its own ASM before the older one, or the first script hangs.
    rm "$engine"/lib/asm-5.*.jar "$engine"/lib/asm-commons-5.*.jar "$engine"/lib/asm-tree-5.*.jar
  fi
  if [ "$start" = elasticsearch-8 ]; then
    # The transport is a module: a folder with its jars and its description.
    module=$engine/modules/transport-netty4
    mkdir -p "$module"
    mv "$engine"/lib/*netty*.jar "$module/"
    (cd "$module" && "$jdk/bin/jar" -xf transport-netty4-*.jar META-INF/es-plugins/transport-netty4/plugin-descriptor.properties)
    grep -v '^modulename' "$module/META-INF/es-plugins/transport-netty4/plugin-descriptor.properties" \
      >"$module/plugin-descriptor.properties"
    rm -r "$module/META-INF"
  fi
  if [[ $name == elasticsearch-9.* ]]; then
    # Its best_compression is zstd, through a native library that the jars do not hold.
    zstd=$(ldconfig -p | sed -n 's/.*libzstd\.so\.1 .*=> //p' | head -1)
    [ -n "$zstd" ] || { echo "$name: libzstd.so.1 is missing; run: sudo apt-get install -y libzstd1" >&2; exit 1; }
    mkdir -p "$engine/native"
    ln -s "$zstd" "$engine/native/libzstd.so"
  fi
  if [ -n "$start" ]; then
    "$jdk/bin/javac" --release "$release" -Xlint:-options -cp "$engine/lib/*" -d "$engine/start" \
      "$sources/start/$start/Start.java"
  fi
  touch "$done"
done
