# Shell functions shared by tests/run.sh and examples/quickstart.sh; source it from the repository root.

build_packages="cmake g++ ninja-build libxsimd-dev libfmt-dev doctest-dev libcli11-dev nlohmann-json3-dev"

# install_packages name…: installs the Debian packages that are missing; does nothing, and needs no network, when none is.
install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian-like system: what the packages $* hold must be installed already."
    return 0
  fi
  local package missing=() sudo=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Missing packages, and neither root nor sudo is here. As root, run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  echo "Installing by apt: ${missing[*]}"
  local log status=0
  log=$(mktemp)
  {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 20 "$log" >&2
    echo "apt could not install them (is the network there?). By hand: apt-get install ${missing[*]}" >&2
  fi
  rm -f "$log"
  return "$status"
}

# configure preset [cmake option…]: into build/<preset>. A folder configured before keeps its generator; else Ninja is
# taken where it is installed.
configure() {
  local preset=$1
  shift
  if [ -z "${CMAKE_GENERATOR:-}" ] && command -v ninja >/dev/null; then
    CMAKE_GENERATOR=Ninja cmake --preset "$preset" "$@"
  else
    cmake --preset "$preset" "$@"
  fi
}

# build preset [target…]
build() {
  local preset=$1
  shift
  cmake --build "build/$preset" --parallel "${HEED_JOBS:-$(nproc)}" ${1:+--target "$@"}
}
