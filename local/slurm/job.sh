#!/usr/bin/env bash
# A job under Slurm: job.sh STATUS-FILE COMMAND [ARGUMENT ...], submitted by seqkd (see local/cmd.sh) with --nodes,
# --ntasks-per-node and --signal=B:USR1@90. It runs the command as one step, with all its processes, and
#   - goes back into the queue when the time limit is near, so that the command carries on from where it was;
#   - runs the command again, at most twice, when one of its processes was killed;
#   - writes the exit status to STATUS-FILE at the end.
# A site may put `module load` and the like here.
set -u
status_file=$1
shift
restarts=${SLURM_RESTART_COUNT:-0}
requeued='' status=1
rm -f "$status_file" # of a run that was killed while it ended

# shellcheck disable=SC2329 # the trap calls it
requeue() {
  if [ "$restarts" -ge 50 ]; then
    echo "job.sh: the time limit is near for the ${restarts}th time: not requeued again" >&2
  elif scontrol requeue "$SLURM_JOB_ID"; then
    requeued=yes
    echo "job.sh: the time limit is near: requeued" >&2
  fi
}
trap requeue USR1

# Where the processes meet: the address by which Slurm itself reaches the first node, on which this script runs.
MASTER_ADDR=$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
export MASTER_ADDR

for attempt in 1 2 3; do
  # srun does not inherit --cpus-per-task since Slurm 22.05. When one process ends badly, the others are ended.
  srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$@" </dev/null &
  step=$!
  wait "$step"
  status=$?
  while kill -0 "$step" 2>/dev/null; do # it was the signal that ended the wait
    wait "$step"
    status=$?
  done
  # More than 128: killed, and by neither the user (scancel ends this script, too) nor the time limit.
  if [ -n "$requeued" ] || [ "$status" -le 128 ]; then break; fi
  echo "job.sh: a process was killed (status $status, attempt $attempt of 3)" >&2
done
if [ -z "$requeued" ]; then
  echo "$status" >"$status_file.tmp" && mv "$status_file.tmp" "$status_file"
fi
exit "$status"
