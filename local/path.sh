#!/usr/bin/env bash
# For Kaldi habits: `. local/path.sh` puts the environment on the PATH (and makes it if need be).
# shellcheck source=local/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
