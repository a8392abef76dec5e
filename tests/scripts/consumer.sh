#!/usr/bin/env bash
# consumer.sh BUILD: installs BUILD into a fresh folder and builds tests/consumer against it by find_package and by
# pkg-config, then against the source tree by add_subdirectory; each program must run. Each public header must compile alone.
set -uo pipefail
build=$1
source=$PWD
work=$PWD/build/consumer
jobs=${HEED_JOBS:-$(nproc)}
rm -rf "$work/prefix" "$work/package" "$work/pkgconfig" && mkdir -p "$work/pkgconfig"
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
check() { local what=$1; shift; if "$@"; then echo "ok - $what"; else echo "not ok - $what"; fi; }

install_heed() { cmake --install "$build" --prefix "$work/prefix" >/dev/null; }
check "installs" install_heed

by_package() {
  cmake "${generator[@]}" -S tests/consumer -B "$work/package" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null && cmake --build "$work/package" --parallel "$jobs" && "$work/package/consumer"
}
check "find_package" by_package

by_component() { "$work/package/ranks" | grep -q '^rank 0 of 1 by one: 1$'; }
check "the component distributed" by_component
under_mpirun() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 60 mpirun --oversubscribe --bind-to none -n 2 \
    "$work/package/ranks" | grep -q '^rank 1 of 2 by mpi: 2$'
}
if [ -z "$(find "$work/prefix" -name libheed_mpi.so)" ]; then
  echo "skip - an installed program under mpirun: heed was built without MPI"
elif ! command -v mpirun >/dev/null; then
  echo "skip - an installed program under mpirun: mpirun is not here"
else
  check "an installed program finds the MPI module under mpirun" under_mpirun
fi
unknown_component() {
  mkdir -p "$work/unknown" && printf 'cmake_minimum_required(VERSION 3.25)\nproject(u LANGUAGES CXX)\nfind_package(heed REQUIRED COMPONENTS quantum)\n' \
    >"$work/unknown/CMakeLists.txt" &&
    ! cmake "${generator[@]}" -S "$work/unknown" -B "$work/unknown/build" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null 2>&1
}
check "find_package refuses a component that is not there" unknown_component

too_new() {
  ! cmake "${generator[@]}" -S tests/consumer -B "$work/too_new" -DCONSUMER_HEED_VERSION=99.0 \
    -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null 2>&1
}
check "find_package refuses a version that is not there" too_new

by_subdirectory() {
  cmake "${generator[@]}" -S tests/consumer -B "$work/subdirectory" -DCMAKE_BUILD_TYPE=Release -DCONSUMER_HEED_SOURCE="$source" \
    -DHEED_LOWEST_LEVEL=ON \
    -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache)" >/dev/null &&
    cmake --build "$work/subdirectory" --parallel "$jobs" --target consumer ranks && "$work/subdirectory/consumer" &&
    "$work/subdirectory/ranks"
}
check "add_subdirectory" by_subdirectory

by_pkg_config() {
  local flags
  export PKG_CONFIG_PATH
  PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name heed.pc)")
  flags=$(pkg-config --cflags --libs heed) &&
    # shellcheck disable=SC2086
    g++ -std=c++20 -O2 tests/consumer/main.cpp -o "$work/pkgconfig/consumer" $flags && "$work/pkgconfig/consumer"
}
check "pkg-config" by_pkg_config

distributed_by_pkg_config() {
  local flags
  flags=$(PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name heed.pc)") pkg-config --cflags --libs heed-distributed) &&
    # shellcheck disable=SC2086
    g++ -std=c++20 -O2 tests/consumer/ranks.cpp -o "$work/pkgconfig/ranks" $flags && "$work/pkgconfig/ranks"
}
check "pkg-config heed-distributed" distributed_by_pkg_config

readme_program() {
  local flags
  flags=$(PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name heed.pc)") pkg-config --cflags --libs heed) &&
    sed -n '/^```cpp$/,/^```$/{/^```/d;p}' README.md >"$work/pkgconfig/readme.cpp" &&
    # shellcheck disable=SC2086
    g++ -std=c++20 -O2 -Wall -Wextra -Werror "$work/pkgconfig/readme.cpp" -o "$work/pkgconfig/readme" $flags &&
    "$work/pkgconfig/readme" >"$work/pkgconfig/readme.txt" && tail -n 1 "$work/pkgconfig/readme.txt" | grep 'loss 0\.0'
}
check "the program in the README" readme_program

headers_alone() {
  local header
  (cd "$work/prefix/include" && find heed -name '*.h' | sort) >"$work/headers"
  [ -s "$work/headers" ] &&
    xargs -P "$jobs" -I{} sh -c 'echo "#include <{}>" | g++ -std=c++20 -Wall -Werror -fsyntax-only -I"$0" -x c++ - || exit 255' \
      "$work/prefix/include" <"$work/headers"
}
check "every installed header compiles alone" headers_alone

