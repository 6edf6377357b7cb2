"""What the runtimes' benchmark programs print, as others published it, and programs that print it so."""

from __future__ import annotations

from pathlib import Path

# benchmark_model of TensorFlow Lite on a Texas Instruments board (ssd_mobilenet_v2_coco, 4 threads), as the board's
# public documentation shows it, without its prefix "INFO: "; the delegate's line as tensorflow/lite/core/subgraph.cc
# writes it.
BENCHMARK_MODEL = """\
STARTING!
Log parameter values verbosely: [0]
Graph: [model.tflite]
Signature to run: []
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 109 out of 112 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions.
Loaded model model.tflite
The input model file size (MB): 67.3128
Initialized session in 5.579ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 p5=1238753 \
median=1239807 p95=1247415

Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
"""

# benchmark_model of TensorFlow 2.4 on an Android phone (yolov5s), as a public conversion guide shows it: no
# percentiles, another word for memory.
BENCHMARK_MODEL_2_4 = """\
count=50 first=249042 curr=250889 min=247067 max=254474 avg=249684 std=1442
Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Peak memory footprint (MB): init=4.92969 overall=138.809
"""

# benchncnn on a Threadripper 3970X, github.com/Tencent/ncnn benchmark/README.md
BENCHNCNN = """\
loop_count = 10
num_threads = 1
powersave = 0
gpu_device = -1
cooling_down = 0
        mobilenet_v2  min =   14.70  max =   14.95  avg =   14.82
"""

# executor_runner, github.com/pytorch/executorch docs/source/using-executorch-building-from-source.md
EXECUTOR_RUNNER = """\
I 00:00:00.043703 executorch:executor_runner.cpp:379] Model executed successfully 1 time(s) in 15.013292 ms.
I 00:00:00.043720 executorch:executor_runner.cpp:383] 1 outputs:
OutputX 0: tensor(sizes=[1, 1000], [
  -0.509859, 0.300644, 0.0953884, 0.147724, 0.231202, 0.338554, 0.206888, -0.0575762, -0.389273, -0.0606864,
  ...,
  0.421219, 0.100447, -0.506771, -0.115824, -0.693017, -0.183262, 0.154781, -0.410684, 0.0119296, 0.449713,
])
"""

# A later executor_runner, which times each run: its log, as a public test of a port has it
EXECUTOR_RUNNER_EACH = """\
I 00:00:05.833558 executorch:executor_runner.cpp:564] Model loaded in 4463.268273 ms.
I 00:00:06.075611 executorch:executor_runner.cpp:705] Iteration 1 of 1: 241.944288 ms
I 00:00:06.075701 executorch:executor_runner.cpp:714] Model executed successfully 1 time(s) in 241.944288 ms.
"""

# adb and ssh that reach this very machine: what comes after the serial number or the host is run by sh
ADB = """\
#!/bin/sh
[ "$1" = -s ] && [ "$2" = emulator-5554 ] || { echo "adb: device '$2' not found" >&2; exit 1; }
case "$3" in
  shell) sh -c "$4"; exit 0 ;;
  push) cp "$4" "$5" && echo "$4: 1 file pushed, 0 skipped." ;;
esac
"""
SSH = """\
#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
[ "$1" = me@board ] || { echo "ssh: Could not resolve hostname $1: Name or service not known" >&2; exit 255; }
exec sh -c "$2"
"""
SCP = """\
#!/bin/sh
shift
while [ "$1" = -o ]; do shift 2; done
exec cp "$1" "${2#me@board:}"
"""
# Programs that check what they are given and print as the real ones do
EXECUTOR_RUNNER_PROGRAM = """\
#!/bin/sh
for argument; do case "$argument" in
  --model_path=*) [ -s "${argument#*=}" ] || { echo "Failed to load ${argument#*=}"; exit 1; } ;;
  --num_executions=*) runs="${argument#*=}" ;;
  --cpu_threads=*) threads="${argument#*=}" ;;
esac; done
echo "I 00:00:00.000100 executorch:executor_runner.cpp:564] Model loaded in 4.500000 ms."
i=1
while [ $i -le $runs ]; do
  echo "I 00:00:00.000200 executorch:executor_runner.cpp:705] Iteration $i of $runs: $((12 / threads)).250000 ms"
  i=$((i + 1))
done
echo "I 00:00:00.000300 executorch:executor_runner.cpp:714] Model executed successfully $runs time(s) in 99.000000 ms."
"""
BENCHNCNN_PROGRAM = """\
#!/bin/sh
[ -s "${6#param=}" ] && [ "$7" = "shape=[32,32,3]" ] && [ $3$4$5 = 0-10 ] || exit 1
echo "loop_count = $1" >&2
echo "  ${6#param=}  min =    1.50  max =    2.50  avg =    $((4 / $2)).00" >&2
"""


def program(path: Path, source: str) -> Path:
    """Writes an executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    path.chmod(0o755)
    return path


def printing(text: str) -> str:
    """The source of a program that prints that text whatever it is given."""
    return f"#!/bin/sh\ncat <<'END'\n{text}END\n"
