"""The settings that the papers' networks were trained with on ImageNet, as far as they are published.

docs/recipes.md has a table of each: every setting, its value, and where that comes from; a test compares the two.
Every metric here is the authors' own, none is ours. What a paper leaves out is named in the docstring, with what stands
in its place. Dropout before the classifier and BatchNorm's constants belong to the network, not to the recipe: `train
--profile authors` builds it with the authors' own. A recipe takes any data, and its learning rate follows the batch.
"""

from __future__ import annotations

from dataclasses import replace

from ...data.augment import Augmentation
from ..recipe import Averaging, Optimiser, Recipe, Schedule

# What slim's Inception preprocessing draws (research/slim/preprocessing/inception_preprocessing.py in its fast mode,
# the default): crops, flips, brightness within 32 / 255, saturation within a half; no contrast, no hue. Its area range
# is 5 to 100 %, but a crop must also cover a tenth of the object's box (`min_object_covered`), and without boxes that
# is the picture.
INCEPTION = Augmentation(scale=(0.1, 1.0), ratio=(0.75, 1.33), colour=0.0, brightness=32 / 255, saturation=0.5)

# What V1 to V3 share: TensorFlow's RMSprop, decay and momentum 0.9, slim's epsilon, no decay on depthwise kernels.
SLIM = Optimiser(name="rmsprop_tf", momentum=0.9, rho=0.9, eps=1.0, decay="no_norm_no_depthwise", clip_norm=0)

# What V4's yaml files share: crops and flips of official/vision, and RandAugment by TensorFlow's levels without cutout.
RANDAUGMENT = Augmentation(scale=(0.08, 1.0), colour=0.0, randaugment=2, levels="tensorflow")


def v1_paper() -> Recipe:
    """V1 as Howard et al. trained it: RMSprop, larger crops, no label smoothing, no decay on depthwise kernels.

    Published: RMSprop as for Inception V3 (decay 0.9, epsilon 1.0 inside the root, learning rate 0.045, times 0.94
    every two epochs, gradients clipped at 2.0, averaged weights scored, 100 epochs); no side heads, no label smoothing,
    no very small crops; "very little or no weight decay on the depthwise filters". From the authors' code: colours as
    Inception's, weight decay 0.00004, momentum 0.9, the average's 0.9999. Not published, chosen here: crops of at least
    35 % of the area; 32 images a step for the learning rate, which is one worker's share of Inception's asynchronous
    training.

    Source: Howard et al. 2017, section 3.2; Szegedy et al. 2016, section 8; tensorflow/models
    research/slim/nets/mobilenet_v1.py.

    Command: `mobilenets train IMAGENET --model mobilenet_v1 --profile authors --recipe v1_paper --batch-size 256
    --out RUN`

    Time: 100 passes, 128 million images: divide by the images a second that `train` prints.

    Expect: published top-1 70.6 % at width 1 and 224 px (Howard et al. 2017, table 6).
    """
    return Recipe(
        name="v1_paper",
        epochs=100,
        batch_size=32,
        optimiser=replace(SLIM, lr=0.045, weight_decay=4e-5, clip_norm=2.0),
        schedule=Schedule(name="step", factor=0.94, every=2, warmup=0),
        augmentation=replace(INCEPTION, scale=(0.35, 1.0)),
        label_smoothing=0.0,
        averaging=Averaging(rule="ramp", decay=0.9999),
    )


def v2_paper() -> Recipe:
    """V2 as Sandler et al. trained it: RMSprop, learning rate 0.045 for each 96 images, times 0.98 every 2.5 epochs.

    Published: RMSprop with decay and momentum 0.9, weight decay 0.00004, learning rate 0.045, batches of 96 on 16
    asynchronous workers. From the authors' command that reaches 72.0 %: Inception's preprocessing, label smoothing 0.1,
    average 0.9999, 0.045 for every 96 images in synchronous training, 700 thousand steps of 768 images, which are 420
    epochs; from their code: no decay on depthwise kernels, epsilon 1.0 (slim's default). The paper has the learning
    rate decay "0.98 per epoch", the command every 2.5 epochs: the command is followed, because only with it something
    is left to learn with at its own length, 3 % of the learning rate against 0.02 %.

    Source: Sandler et al. 2018, section 6.1; tensorflow/models research/slim/nets/mobilenet/README.md and mobilenet.py,
    research/slim/train_image_classifier.py.

    Command: `mobilenets train IMAGENET --model mobilenet_v2 --profile authors --recipe v2_paper --batch-size 768
    --out RUN`

    Time: 420 passes, 538 million images: divide by the images a second that `train` prints.

    Expect: published top-1 72.0 % at width 1 and 224 px (Sandler et al. 2018, table 4).
    """
    return Recipe(
        name="v2_paper",
        epochs=420,
        batch_size=96,
        optimiser=replace(SLIM, lr=0.045, weight_decay=4e-5),
        schedule=Schedule(name="step", factor=0.98, every=2.5, warmup=0),
        augmentation=INCEPTION,
        averaging=Averaging(rule="ramp", decay=0.9999),
    )


def v3_paper() -> Recipe:
    """V3 as Howard et al. trained it: RMSprop at batch 4096, learning rate 0.1 times 0.99 every 3 epochs, averaged.

    Published: TensorFlow's RMSPropOptimizer with momentum 0.9, learning rate 0.1 for 4096 images, "decay rate of 0.01
    every 3 epochs", L2 0.00001, Inception's preprocessing, average 0.9999. From the authors' file for V3-Small, which
    reaches 67.5 %: decay 0.9 and epsilon 0.002, the factor 0.99, five epochs of warm-up, label smoothing 0.1, 1000
    epochs; that file has 0.01 for the learning rate, where the paper's 0.1 is followed. From their code: no decay on
    depthwise kernels. Their later file for V3-Large is another recipe: AdamW, AutoAugment, 700 epochs, 75.7 %.

    Source: Howard et al. 2019, section 6.1.1; tensorflow/models
    official/vision/configs/experiments/image_classification/imagenet_mobilenetv3small_tpu.yaml.

    Command: `mobilenets train IMAGENET --model mobilenet_v3_large --profile authors --recipe v3_paper --batch-size 1024
    --out RUN`

    Time: 1000 passes, 1281 million images: divide by the images a second that `train` prints.

    Expect: published top-1 75.2 % for Large and 67.4 % for Small at 224 px (Howard et al. 2019, table 3).
    """
    return Recipe(
        name="v3_paper",
        epochs=1000,
        batch_size=4096,
        optimiser=replace(SLIM, lr=0.1, weight_decay=1e-5, eps=2e-3),
        schedule=Schedule(name="step", factor=0.99, every=3, warmup_epochs=5),
        augmentation=INCEPTION,
        averaging=Averaging(rule="ramp", decay=0.9999),
    )


def v4_paper() -> Recipe:
    """V4 Conv-M as Qin et al. trained it: AdamW at batch 4096, RandAugment of magnitude 15, stochastic depth.

    Published: AdamW at 0.004 for 4096 images with weight decay 0.1 on all but BatchNorm, betas 0.9 and 0.999, five
    epochs of warm-up and a cosine, label smoothing 0.1, two operations of RandAugment by TensorFlow's levels of
    magnitude 15 with probability 0.7 and shifts of 10 pixels in 256 at magnitude 10, stochastic depth up to 0.075, no
    average, 500 epochs. Hybrid-M has the same at 0.016 for 16384 images. Conv-L and Hybrid-L have other settings. The
    paper's best figures need a teacher: that is `--teacher`.

    Source: Qin et al. 2024, appendix; tensorflow/models
    official/vision/configs/experiments/image_classification/imagenet_mobilenetv4_conv_medium_tpu.yaml.

    Command: `mobilenets train IMAGENET --model mobilenet_v4_conv_medium --profile authors --recipe v4_paper
    --batch-size 1024 --out RUN`

    Time: 500 passes, 641 million images: divide by the images a second that `train` prints.

    Expect: published top-1 79.9 % for Conv-M at 256 px without a teacher (Qin et al. 2024, table 5).
    """
    return Recipe(
        name="v4_paper",
        epochs=500,
        batch_size=4096,
        optimiser=Optimiser(lr=4e-3, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-7, clip_norm=0),
        schedule=Schedule(warmup_epochs=5),
        augmentation=replace(RANDAUGMENT, magnitude=15, operation_probability=0.7, shift=10 / 256),
        averaging=Averaging(rule="none"),
        stochastic_depth=0.075,
    )


def v4_paper_small() -> Recipe:
    """V4 Conv-S as Qin et al. trained it: AdamW with a short memory, weak decay, averaged, for very many epochs.

    Published: AdamW at 0.002 for 4096 images, betas 0.6 and 0.999, epsilon 1e-6, weight decay 0.01, L2 0.00001 on all
    kernels but depthwise ones, five epochs of warm-up and a cosine, label smoothing 0.1, two operations of RandAugment
    by TensorFlow's levels of magnitude 9 with probability 0.5 and shifts of 20 pixels in 224 at magnitude 10, average
    0.9999 from step 1560 on, 9623 epochs.

    Source: Qin et al. 2024, appendix; tensorflow/models
    official/vision/configs/experiments/image_classification/imagenet_mobilenetv4_conv_small_tpu.yaml.

    Command: `mobilenets train IMAGENET --model mobilenet_v4_conv_small --profile authors --recipe v4_paper_small
    --batch-size 1024 --out RUN`

    Time: 9623 passes, 12 billion images: divide by the images a second that `train` prints.

    Expect: published top-1 73.8 % at 224 px (Qin et al. 2024, table 5).
    """
    return Recipe(
        name="v4_paper_small",
        epochs=9623,
        batch_size=4096,
        optimiser=Optimiser(lr=2e-3, weight_decay=0.01, l2=1e-5, betas=(0.6, 0.999), eps=1e-6, clip_norm=0),
        schedule=Schedule(warmup_epochs=5),
        augmentation=replace(RANDAUGMENT, magnitude=9, operation_probability=0.5, shift=20 / 224),
        averaging=Averaging(rule="constant", decay=0.9999, start=1560),
    )


def modern() -> Recipe:
    """A modern training at a modest cost: V4's settings with erasing and mixing, in 300 passes.

    AdamW with a short memory (beta1 0.6), a cosine, RandAugment, erasing, mixup and cutmix at low strength, stochastic
    depth, averaged weights. The learning rate is V4 Conv-S's, 0.002 for 4096 images, by the square root for the 1024 of
    a step here, as timm scales AdamW's. timm's `ra4` weights, trained this way for 2400 to 3600 epochs, are the best
    published of V1, V2 and V4 Conv-S without a teacher; 300 epochs and the low strengths are chosen here for a tenth of
    that cost. We have not trained ImageNet with it.

    Source: our own, after V4 Conv-S (`v4_paper_small`) and timm's cards of mobilenetv1_100.ra4_e3600_r224_in1k and
    mobilenetv4_conv_small.e2400_r224_in1k, "hyper-parameters inspired by MobileNet-V4 Small".

    Command: `mobilenets train IMAGENET --model mobilenet_v4_conv_small --recipe modern --out RUN`

    Time: 300 passes, 384 million images: divide by the images a second that `train` prints.

    Expect: not published for these settings.
    """
    return Recipe(
        name="modern",
        epochs=300,
        batch_size=1024,
        optimiser=Optimiser(lr=2e-3, batch=4096, weight_decay=0.02, betas=(0.6, 0.99), eps=1e-6),
        schedule=Schedule(warmup_epochs=5),
        augmentation=Augmentation(
            scale=(0.2, 1.0),
            colour=0.0,
            erase=0.2,
            randaugment=2,
            magnitude=8,
            operation_probability=0.5,
            mixup=0.1,
            cutmix=0.5,
        ),
        averaging=Averaging(rule="ramp", decay=0.9998),
        stochastic_depth=0.05,
        train_resolution=0.875,
    )
