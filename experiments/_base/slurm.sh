#!/usr/bin/env bash
# Training under SLURM, from the root of the repository, with the names of a method and of its overlays:
#     sbatch experiments/_base/slurm.sh simpleclick large
#     sbatch --nodes=2 experiments/_base/slurm.sh simpleclick huge
# ARGS adds options of `clicklab fit`, as with make. Change the lines below to what your cluster has.
#SBATCH --job-name=clicklab           # any but `bash` and `interactive`, by which Lightning knows a shell
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8           # one task per GPU
#SBATCH --gpus-per-node=8             # not --gpus-per-task: each task has to see the GPUs of its node
#SBATCH --cpus-per-task=10            # data.init_args.num_workers of ddp.yaml and a little more
#SBATCH --time=24:00:00
#SBATCH --requeue                     # after a preemption or the loss of a node
#SBATCH --signal=B:USR1@120           # two minutes before the time is over, to this script and not to the tasks
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.out
##SBATCH --account=... --partition=...
set -euo pipefail

method="${1:?usage: sbatch experiments/_base/slurm.sh METHOD [OVERLAY ...]}"
configs=(--config experiments/_base/trainer.yaml --config "experiments/$method/config.yaml")
shared=(--config experiments/_base/ddp.yaml)
for overlay in "${@:2}"; do   # the method's own, then those that serve all methods, as in the Makefile
  file="experiments/$method/$overlay.yaml"
  if [ -f "$file" ]; then configs+=(--config "$file"); else shared+=(--config "experiments/_base/$overlay.yaml"); fi
done
configs+=("${shared[@]}")
run="$*"

# Back into the queue before the time is over; the next start goes on from last.ckpt, which every epoch writes. Were the
# signal sent to the tasks, Lightning would write a checkpoint of another name in the middle of a step, for which
# `ckpt_path: last` does not look.
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"   # srun no longer takes it over from sbatch

srun "${CLICKLAB:-.venv/bin/clicklab}" fit "${configs[@]}" --trainer.devices="$SLURM_NTASKS_PER_NODE" \
  --trainer.num_nodes="$SLURM_NNODES" --trainer.default_root_dir="runs/${run// /-}" ${ARGS:-} &
wait $! || wait $!   # the signal ends the first wait only
