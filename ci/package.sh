#!/usr/bin/env bash
# What would be published builds from its own archives, without the rest of the repository: all packages with no feature, the
# satellites against the archive of the library, and the library with all features.
set -euo pipefail

package() {
    echo "+ package $*"
    cargo package --quiet --allow-dirty "$@" 2> >(grep -v 'is not included in the published package' >&2)
}

package -p aiocontextvars -p aiocontextvars-conformance -p aiocontextvars-opentelemetry
package -p aiocontextvars --all-features
