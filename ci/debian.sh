# Sourced by those who need a compiler or tools that rustup does not have.

# Unpacks Debian packages into the folder $1 and installs nothing. The function $2 prints which, once apt knows them.
# Fails where they cannot be had.
unpack_debian() {
    local root=$1 packages package
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" -ne 0 ] || apt-get update -qq || true
    packages=$("$2") || return 1
    rm -rf "$root.deb"
    mkdir -p "$root" "$root.deb"
    # The names have no spaces.
    (cd "$root.deb" && apt-get download -qq $packages) || return 1
    for package in "$root.deb"/*.deb; do
        dpkg -x "$package" "$root" || return 1
    done
    rm -r "$root.deb"
}
