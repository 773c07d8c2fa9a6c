#!/usr/bin/env bash
# All benchmark tables on a GPU and the tests that need one, TF32 off, within 8 minutes; what does not fit is cut off.
#   bash scripts/benchmarks/gpu.sh [--device cpu]
# --device cpu: the same steps at the smallest sizes, to see that they run where there is no GPU.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
device=cuda
if [ "${1:-}" = --device ]; then device=$2; fi
export NEUROXAI_BENCHMARK_DEVICE=$device NVIDIA_TF32_OVERRIDE=0 TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=0
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
shape="96 114 96" batches="1 4" repeats=7 scans=12 spacing=2
if [ "$device" = cpu ]; then shape="78 78 78" batches=1 repeats=1 scans=2 spacing=4; fi
summary=""

step() { # most seconds, name, command
    local most=$1 name=$2 begin=$SECONDS code=0
    shift 2
    printf '\n## %s\n\n' "$name"
    timeout "$most" "$@" || code=$?
    summary+="| $name | $((SECONDS - begin)) | $code |"$'\n'
}

python - <<PYTHON
import torch
device = torch.device("$device")
name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
print(f"{name}, torch {torch.__version__}, TF32: {torch.backends.cuda.matmul.allow_tf32}")
PYTHON
here=scripts/benchmarks
step 60 "tests that need a GPU" python -m pytest -q -p no:cacheprovider tests/atlas/test_score.py \
    tests/contracts/test_attribution_methods.py -k "gpu or cuda"
step 90 "relevance beside a plain pass" python $here/lrp.py --shape $shape --batch $batches --repeats $repeats \
    --no-memory
step 90 "attribution methods" python $here/attribution.py --shape $shape --repeats 1 --no-memory \
    --methods saliency gradient_x_input guided_backprop lrp_epsilon grad_cam
step 30 "patch-individual layer" python $here/pif.py --batch ${batches##* } --repeats $repeats
step 30 "region sums" python $here/atlas.py --device "$device" --repeats $repeats --spacing $spacing
step 60 "explaining" python $here/explain.py --device "$device" --spacing $spacing --scans $scans
step 90 "training" python $here/train.py --device "$device" --spacing $spacing --scans $scans --batch 2 --repeats 1
printf '\n| step | seconds | exit code (124: cut off) |\n|---|---|---|\n%s' "$summary"
[[ "$summary" != *"| 1 |"* ]]
