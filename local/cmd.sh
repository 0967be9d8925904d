#!/usr/bin/env bash
# Where the jobs of a recipe run: edit this file, or set these variables before run.sh. Sourced by recipes/run.sh.
#
#   SEQKD_BACKEND    local: on this machine, --nj at a time; slurm: each an sbatch job
#   SEQKD_SBATCH     options of every sbatch, quoted as for a shell: '--partition=gpu --time=24:00:00 --mem=32G'
#   SEQKD_MAX_JOBS   how many jobs may be in Slurm's queue at a time
#   SEQKD_SLURM_JOB  the script that every Slurm job is
#
# Every node must see the checkout, its environment (.venv), and the --data and --exp directories under the same paths.
: "${SEQKD_BACKEND:=local}"
: "${SEQKD_SBATCH:=}"
: "${SEQKD_MAX_JOBS:=50}"
: "${SEQKD_SLURM_JOB:=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/slurm/job.sh}"
export SEQKD_BACKEND SEQKD_SBATCH SEQKD_MAX_JOBS SEQKD_SLURM_JOB
