#!/bin/sh
# All that needs a GPU, in one call of at most nine minutes: tests, the cost of a step, and ResNet-18 on CIFAR-10.
# Results are benchmarks/results/step_cost_gpu.json and gpu.json; what is in gpu.json already is not trained anew, so
# that a second call goes on where the first one ended. `benchmarks/gpu.sh --tiny` proves on a CPU that it runs.
# ARTCLIP_DATA names the folder with MNIST and CIFAR-10; PYTHON the interpreter.
set -e
cd "$(dirname "$0")"
python=${PYTHON:-python}
began=$(date +%s) status=0
failed() { status=1; echo "$1: FAILED, or out of time"; }
left() { echo $(($1 + began - $(date +%s))); }

if [ "$1" = --tiny ]; then
    $python -m pytest -q -m gpu ../tests/contract/test_training.py || [ $? = 5 ]
    $python step_cost.py --check || true
    exec $python gpu.py --tiny
fi
timeout 120 $python -m pytest -q -m gpu ../tests || failed "tests marked gpu"
timeout 150 $python step_cost.py --gpu || failed "step_cost.py --gpu"
seconds=$(left 520)
timeout "$seconds" $python gpu.py --max-seconds "$((seconds - 10))" "${@}" || failed "gpu.py"
exit $status
