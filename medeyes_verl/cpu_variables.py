"""All environment variables of a CPU, in one table. Imports the standard library alone.

eval "$(python -m medeyes_verl.cpu_variables cpu)" sets what scripts/environment.sh sets for a CPU, `gpu` for a GPU.
"""

import os
import sys

PLATFORM = {"VERL_PLATFORM": "cpu"}
"""What a user sets: veRL then asks plugin/cpu/platform.py."""
PROCESS = {
    "TORCH_COMPILE_DISABLE": "1",  # compiling costs minutes on two cores and gains nothing on a tiny policy
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # binding would pin vLLM to cores that others use, too
}
"""What every process with torch and vLLM needs; set where the user has not said otherwise, as are the two below."""
TRAINING = {
    **PROCESS,
    "VERL_ENGINE_DEVICE": "cuda",  # the fsdp engine is registered under cuda and npu only (workers/engine/base.py:405)
    "OMP_NUM_THREADS": "1",  # several processes share the cores; more threads each only make them wait
}
"""Of a run of main_ppo. Ray workers inherit them from the driver."""
SERVING = {
    **PROCESS,
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else vLLM does not let its engine and its worker be one process
    "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) // 2)),  # the server's other half reads images
}
"""Of a vLLM that serves a policy for an evaluation."""
QUIET = {
    "HF_HUB_OFFLINE": "1",  # what scripts and tests need is on the machine
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
"""What scripts and tests set besides, on any machine: no hub, and nothing is reported to anybody."""

if __name__ == "__main__":
    chosen = {"cpu": PLATFORM | QUIET, "gpu": QUIET}[sys.argv[1]]
    print("export " + " ".join(f"{name}={value}" for name, value in chosen.items()))
