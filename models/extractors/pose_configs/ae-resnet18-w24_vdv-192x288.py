"""An associative-embedding network small enough for one core: a ResNet-18 of 24 channels, heatmaps of stride 4.

Trained from scratch by simulation/training/train_networks.py. Upright phone pictures fill the 192 x 288 px input;
others are letterboxed into it. mmengine reads this file: plain values only.
"""

codec = {
    "type": "AssociativeEmbedding",
    "input_size": (192, 288),  # width, height
    "heatmap_size": (48, 72),
    "sigma": 1.5,  # heatmap px
    "use_udp": True,  # coordinates without a bias of half a pixel, refined below the heatmap's pixel (DARK)
    "decode_keypoint_order": [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16],
    "decode_topk": 10,  # candidates a joint: more people than a phone's picture holds
}

model = {
    "type": "BottomupPoseEstimator",
    "data_preprocessor": {
        "type": "PoseDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
    },
    "backbone": {"type": "ResNet", "depth": 18, "base_channels": 24, "stem_channels": 24, "out_indices": (1, 2, 3)},
    # Strides 8, 16 and 32 side by side at stride 8: wrists are seen in the first and told apart by the others.
    "neck": {"type": "FeatureMapProcessor", "select_index": (0, 1, 2), "concat": True},
    "head": {
        "type": "AssociativeEmbeddingHead",
        "in_channels": 336,
        "num_keypoints": 17,
        "tag_dim": 1,
        "tag_per_keypoint": True,
        "deconv_out_channels": (40,),
        "deconv_kernel_sizes": (4,),
        "conv_out_channels": (40,),
        "conv_kernel_sizes": (3,),
        "decoder": codec,
    },
    "test_cfg": {"multiscale_test": False, "flip_test": False},
}

# What mmpose's own inference reads of a config: the letterbox and the joints' names.
test_dataloader = {
    "dataset": {
        "type": "CocoDataset",
        "data_mode": "bottomup",
        "pipeline": [
            {"type": "LoadImage"},
            {"type": "BottomupResize", "input_size": codec["input_size"], "pad_val": (114, 114, 114)},
            {
                "type": "PackPoseInputs",
                "meta_keys": (
                    "id",
                    "img_id",
                    "img_path",
                    "ori_shape",
                    "img_shape",
                    "input_size",
                    "input_center",
                    "input_scale",
                    "flip_indices",
                ),
            },
        ],
    }
}
