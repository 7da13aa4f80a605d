"""Flags of the examples in the published readme."""

PUBLISHED_EXAMPLES = [
    "--model vgg11 --layer Conv2d --kernel_size 3 --dataset cifar10 --optimizer adamw --lr 1e-3 --num_epochs 150"
    " --output_dir ./Output/VGG11/Conv2d",
    "--model vgg11 --layer ConvNN --K 9 --sampling_type spatial --num_samples 8 --similarity_type Col"
    " --aggregation_type Col --dataset cifar10 --optimizer adamw --lr 1e-3 --num_epochs 150"
    " --output_dir ./Output/VGG11/ConvNN",
    "--model vgg11 --layer Branching --kernel_size 3 --K 9 --padding 1 --branch_ratio 0.5 --sampling_type all"
    " --num_samples -1 --similarity_type Col --aggregation_type Col --dataset cifar10 --optimizer adamw"
    " --weight_decay 0.01 --lr 1e-4 --scheduler cosine --num_epochs 150 --output_dir ./Output/VGG11/Branching_50",
    "--model resnet18 --layer ConvNN_Attn --K 9 --attention_dropout 0.1 --similarity_type Loc_Col"
    " --aggregation_type Loc_Col --lambda_param 0.5 --dataset cifar100 --optimizer adamw --lr 1e-3 --num_epochs 150"
    " --use_amp --output_dir ./Output/ResNet18/ConvNN_Attn",
    "--model vgg11 --layer Branching --branch_ratio 0.5 --dataset cifar10 --optimizer adamw --lr 1e-4"
    " --num_epochs 150 --use_amp --use_compiled --compile_mode reduce-overhead"
    " --output_dir ./Output/VGG11/Branching_Compiled",
    "--model vgg11 --layer ConvNN --test_only --device cuda",
]
