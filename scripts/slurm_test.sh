#!/usr/bin/env bash
# Prepare with jobs of a real SLURM, one machine being controller and node, on the loopback; one job is killed on the way.
# Needs root and Debian's packages: apt-get install slurmctld slurmd slurm-client munge
#   bash scripts/slurm_test.sh
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
for program in munged slurmctld slurmd sbatch scancel squeue neuroxai; do
    command -v "$program" >/dev/null || { echo "$program is absent; see the first lines of this script" >&2; exit 2; }
done
work=$(mktemp -d)
chmod 755 "$work"
pids=()
finish() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap finish EXIT

head -c 1024 /dev/urandom >"$work/munge.key"
chmod 400 "$work/munge.key"
munged --force --foreground --key-file "$work/munge.key" --socket "$work/munge" --pid-file "$work/munged.pid" \
    --log-file "$work/munged.log" --seed-file "$work/munge.seed" &
pids+=($!)
mkdir "$work/state" "$work/spool"
cat >"$work/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -D &
pids+=($!)
slurmd -D &
pids+=($!)
for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && break
    sleep 1
done
[ "$(sinfo -h -o %T)" = idle ] || { cat "$work"/*.log >&2; exit 1; }

cd "$work"
export PYTHONPATH=$here OMP_NUM_THREADS=1
python - <<'PYTHON'
from neuroxai import io
from neuroxai.preprocess.template import load_template
from neuroxai.space import Volume

brain = load_template(spacing=4).t1
for n in range(8):
    io.write_volume(f"heads/sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz", Volume(brain.data * (900 + n), brain.space))
PYTHON
cat >queue.yaml <<YAML
system: slurm
jobs: 2
queue: main
memory: 2GB
YAML
# the first job that runs is killed, and replaced
( until job=$(squeue -h -t R -o %i | head -1) && [ -n "$job" ]; do sleep 1; done; sleep 5; scancel "$job"; echo "killed job $job" ) &
neuroxai prepare heads far --arm none --spacing 4 --no-bias-correction --no-figures --scheduler queue.yaml
neuroxai prepare heads here --arm none --spacing 4 --no-bias-correction --no-figures
diff -r far here
echo "the same files by jobs of SLURM and by one process"
