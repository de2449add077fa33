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

# Has cargo use Debian's compiler, whose packages have the sources of the standard library for `-Zbuild-std`, and sets
# `debian_root` to where it is. Fails where it cannot be had. As a stable compiler it takes unstable options by
# `RUSTC_BOOTSTRAP` only; the cargo that asks for them is the nightly one.
use_debian_rustc() {
    debian_root=$PWD/target/debian-rust
    [ -x "$debian_root/usr/bin/rustc" ] || unpack_debian "$debian_root" debian_rustc_packages || return 1
    export LD_LIBRARY_PATH=$debian_root/usr/lib/x86_64-linux-gnu:$debian_root/usr/lib
    export RUSTC=$debian_root/usr/bin/rustc RUSTDOC=$debian_root/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
}

debian_rustc_packages() {
    local std llvm
    std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')
    llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p')
    [ -n "$std" ] && [ -n "$llvm" ] && echo "rustc-web libstd-rust-web-dev rust-web-src $std $llvm"
}
