"""The architecture of the bundled model, and its parts put together as a diffusers pipeline."""
from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from common import MODEL

WIDTH = 160  # of the text embeddings
SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                prediction_type="v_prediction", set_alpha_to_one=False, steps_offset=1)


def tokenizer():
    return CLIPTokenizer.from_pretrained(MODEL / "tokenizer")


def text_encoder(vocabulary):
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
        num_attention_heads=5, max_position_embeddings=77, projection_dim=WIDTH, hidden_act="quick_gelu",
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1))


def unet():
    return UNet2DConditionModel(
        sample_size=16, in_channels=8, out_channels=8, layers_per_block=1, block_out_channels=(128, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=6, norm_num_groups=32)


def pipeline(tokenizer, text_encoder, unet, vae):
    scheduler = PNDMScheduler(skip_prk_steps=True, **SCHEDULE)
    made = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made
