#!/usr/bin/env bash
# Fetch series from and send objects to a real archive: Debian's Orthanc with DICOMweb, on loopback alone; beside it dcmtk,
# dcmqi, dcm2niix and dicom3tools read the objects. Nothing is looked up on the network unless --install asks for it.
#   bash scripts/dicomweb_test.sh [--install] [pytest arguments]
#     --install    install what is absent, as root: apt-get install orthanc-dicomweb dcmtk dcm2niix dicom3tools
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --install ]; then
    shift
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends orthanc-dicomweb dcmtk dcm2niix dicom3tools
fi
for program in Orthanc dsrdump dcm2niix dciodvfy; do
    command -v "$program" > /dev/null || echo "absent, its tests skip: $program (--install)" >&2
done
source scripts/env.sh
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python -m pytest tests/io/dicom/test_web.py tests/io/dicom/test_placement.py tests/io/test_dicom_out.py \
    tests/cli/test_explain_archive.py -p no:cacheprovider "$@"
