"""`train`: a folder of images becomes a Run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from . import output
from .output import Answer


def train(
    data: str,
    /,
    *,
    out: Path,
    model: str | None = None,
    weights: str | None = None,
    freeze: str | None = None,
    layer_decay: float | None = None,
    unfreeze: float | None = None,
    norm_stats: Literal["train", "keep", "refresh"] | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    resolution: int | None = None,
    width: float | None = None,
    total_stride: int | None = None,
    profile: Literal["default", "authors"] | None = None,
    reparam: int | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    sync_bn: Literal["yes", "no"] | None = None,
    optimizer: Literal["adamw", "sgd", "rmsprop_tf"] | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    flip: Literal["yes", "no"] | None = None,
    randaugment: int | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    progressive: float | None = None,
    seed: int = 0,
    recipe: str = "auto",
    set: tuple[str, ...] = (),
    labels: str | None = None,
    teacher: str | None = None,
    distill: str | None = None,
    temperature: float | None = None,
    teacher_taps: str | None = None,
    teacher_resolution: int | None = None,
    teacher_input: Literal["imagenet", "unit", "symmetric", "pixels"] | None = None,
    teacher_cache: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    threads: int | None = None,
    checkpoint_minutes: float | None = None,
    restart: bool = False,
    find_lr: bool = False,
    track: Literal["mlflow"] | None = None,
) -> Answer:
    """Trains a network on labelled images and leaves a Run: a folder with the weights, the figures and report.html.

    Started again with the same arguments it goes on where it stopped, or prints the finished result. Settings that
    are left out are chosen for the data and printed. The best epoch is chosen on a part of the training images; the
    split that is reported is scored once, at the end.

    Args:
        data: class folders, lists, a CSV file, or a .zip or .tar of these
        out: folder of the Run; made where it is missing
        model: architecture, see `mobilenets models`; mobilenet_v3_small, or the weights' own
        weights: begin from these: a run, a bundle, a published file or a name of `mobilenets weights list`
        freeze: with weights: none; all: the classifier alone trains; c1 to c5: blocks up to there keep their weights
        layer_decay: with weights: learning rate times this for each block from the head down, above 0 to 1
        unfreeze: with weights: the head trains alone, blocks thaw from the top up to this part of the training, 0 to 1
        norm_stats: with weights: BatchNorm trains, keeps the weights' statistics, or keeps some refreshed on this data
        epochs: passes over the training images; the recipe's own where left out
        minutes: time to train in minutes, the learning rate's schedule included; with epochs, whichever ends first
        resolution: side of the square input in pixels, 16 or more; with weights theirs, or less for small images
        width: width multiplier, above 0 and at most 2
        total_stride: by how much the network shrinks its input, a power of 2; 32, less for pictures below 97 pixels
        profile: authors: padding, BatchNorm, initial weights, input range and dropout of the papers' own code
        reparam: convolutions that train in place of each one, beside 1x1 and identity branches; all fold into one
        batch_size: images in a step, of all processes together
        accumulate: pieces that a process passes its part of a batch in, for a batch that does not fit into memory
        sync_bn: whether BatchNorm sees the images of all processes that torchrun started, not each its own
        optimizer: in place of the recipe's own; rmsprop_tf is TensorFlow's, which V1 to V3 were trained with
        lr: peak learning rate; the recipe's own follows the batch size
        weight_decay: weight decay; BatchNorm and biases are left out of it
        label_smoothing: part of the target spread over all classes, 0 to 1
        flip: whether a mirrored picture keeps its label
        randaugment: RandAugment operations on each picture, 0 to 10
        mixup: alpha of mixup's Beta distribution; 0 for none
        cutmix: alpha of cutmix's Beta distribution; 0 for none
        progressive: resolution of the first epoch, a part of the training's; grows until half of the epochs are done
        seed: of the weights, the order and the augmentation
        recipe: all settings not given: a name of `mobilenets recipes` or a .json file; auto goes by weights, resolution
        set: NAME=VALUE, any setting of `mobilenets recipes NAME`: loss.name=focal; as often as needed
        labels: which label column to learn where the data has several
        teacher: learn from this too: a run, a bundle, a published file or name, any ONNX classifier
        distill: with a teacher: soft, hard, feature, attention, relational, as a list; soft:0.7 gives a form's weight
        temperature: with a teacher: softens the answers of both for the form soft
        teacher_taps: with a teacher: feature maps to compare, c4,c5, or c4=layer3 where the teacher's has another name
        teacher_resolution: side of the teacher's input in pixels; its own where left out
        teacher_input: what an ONNX file of floats takes: imagenet (its mean, std), unit 0...1, symmetric -1...1, pixels
        teacher_cache: with a teacher: train on this many augmented copies of the images, its answers kept on disk
        device: where to train; auto takes a GPU where there is one
        precision: bfloat16 computes in half the bits, weights stay float32; auto takes it where that is faster
        threads: CPU threads
        checkpoint_minutes: a checkpoint amid an epoch every so many minutes, 10 where left out; one follows every epoch
        restart: begin anew: the Run in the folder is deleted
        find_lr: sweep the learning rate and suggest one, in place of training; writes find_lr.json and find_lr.png
        track: log to MLflow too: mlflow.db in the current folder, or the server of MLFLOW_TRACKING_URI
    """
    from ..api import train as train_run

    result = train_run(
        data,
        out=out,
        model=model,
        weights=weights,
        freeze=freeze,
        layer_decay=layer_decay,
        unfreeze=unfreeze,
        norm_stats=norm_stats,
        epochs=epochs,
        minutes=minutes,
        resolution=resolution,
        width=width,
        total_stride=total_stride,
        profile=profile,
        reparam=reparam,
        batch_size=batch_size,
        accumulate=accumulate,
        sync_bn=None if sync_bn is None else sync_bn == "yes",
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        flip=None if flip is None else flip == "yes",
        randaugment=randaugment,
        mixup=mixup,
        cutmix=cutmix,
        progressive=progressive,
        seed=seed,
        recipe=recipe,
        set=set,
        labels=labels,
        teacher=teacher,
        distill=distill,
        temperature=temperature,
        teacher_taps=teacher_taps,
        teacher_resolution=teacher_resolution,
        teacher_input=teacher_input,
        teacher_cache=teacher_cache,
        device=device,
        precision=precision,
        threads=threads,
        checkpoint_minutes=checkpoint_minutes,
        restart=restart,
        find_lr=find_lr,
        track=track,
    )
    if find_lr:
        return _found(result)

    def show() -> None:
        report, best = result["report"], result["best"]
        output.line(f"run          {result['run']}")
        if result["weights"]:
            output.line(f"began from   {result['weights']['weights']}; classifier: {result['weights']['classifier']}")
        if result["teacher"]:
            output.line(f"learnt from  {result['teacher']['teacher']}: {result['teacher']['forms']}")
        output.line(f"selected     epoch {best['epoch']} of {result['epochs']}, {_score(best, 'val_')} (selection)")
        output.line(f"top-1        {_score(report)} ({report['split']})")
        output.line(f"time         {result['seconds']:.0f} s, {result['images_per_second']:.0f} images/s")
        output.line(f"report       {result['files']['report']}")

    return Answer(result, show)


def _found(result: dict[str, Any]) -> Answer:
    """What a sweep of the learning rate says; the answer is no where the loss never fell."""
    found = result["find_lr"]

    def show() -> None:
        if found["lr"] is not None:
            output.line(
                f"lr           {found['lr']:.2g}, a tenth of where the loss is least; batch {found['batch_size']}"
            )
            output.line(f"steepest     {found['steepest']:.2g}")
        for path in result["files"].values():
            output.line(f"file         {path}")

    return Answer(result, show, ok=found["lr"] is not None)


def _score(scores: dict[str, float], prefix: str = "") -> str:
    interval = scores[f"{prefix}top1_interval"]
    return f"{output.percent(scores[f'{prefix}top1'], interval)}, {scores[f'{prefix}images']} images"  # type: ignore[arg-type]
