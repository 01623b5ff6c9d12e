"""Trajectories of diffusers' schedulers, for the tests of inference-server/pipeline/src/scheduler.

    python inference-server/golden/schedulers.py [output.json]      (needs diffusers, torch and scipy)

Every case is a scheduler_config.json, what a request adds to it, and what diffusers made of them: the timesteps, the
deviation of the initial noise, and the latents at the end (and, in the main grid, half way), per prediction type. The model is a formula
(`model` below), the latents are eight numbers, and random noise comes from torch's CPU generator with seed SEED.
"""

import json
import math
import sys
import warnings
from pathlib import Path

import diffusers
import torch

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)

SEED = 7
SHAPE = (1, 2, 2, 2)
OUT = Path(__file__).parents[1] / "pipeline/tests/golden/schedulers.json"

INITIAL = torch.tensor([0.8, -1.1, 0.35, 1.7, -0.45, 0.05, -2.0, 1.2]).reshape(SHAPE)
CLEAN = torch.tensor([0.3, -0.7, 1.5, 0.1, -1.2, 0.9, 0.6, -0.2]).reshape(SHAPE)

CLASSES = {
    "pndm": diffusers.PNDMScheduler,
    "ddim": diffusers.DDIMScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "dpm_solver_multistep": diffusers.DPMSolverMultistepScheduler,
    "unipc_multistep": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
}
PREDICTIONS = ["epsilon", "v_prediction", "sample"]
SPACINGS = ["leading", "linspace", "trailing"]
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# What keeps the classes comparable in the grid, as Stable Diffusion's own config has it.
GRID = {"steps_offset": 1, "skip_prk_steps": True, "clip_sample": False, "set_alpha_to_one": False}


def model(latents, timestep):
    wave = [0.4 * math.cos(0.01 * timestep + 0.7 * j) for j in range(latents.numel())]
    return 0.6 * latents + torch.tensor(wave, dtype=torch.float32).reshape(latents.shape)


def numbers(tensor, digits=7):
    return [float(f"{v:.{digits}g}") for v in tensor.flatten().tolist()]


def construct(case, prediction):
    config = dict(case["config"], prediction_type=prediction)
    scheduler = CLASSES[case["class"]].from_config(config)
    if case.get("stable_diffusion"):
        scheduler = diffusers.StableDiffusionPipeline(
            vae=None, text_encoder=None, tokenizer=None, unet=None, scheduler=scheduler, safety_checker=None,
            feature_extractor=None, requires_safety_checker=False,
        ).scheduler
    extra = {} if case.get("karras") is None else {"use_karras_sigmas": case["karras"]}
    if case.get("kind"):
        scheduler = CLASSES[case["kind"]].from_config(scheduler.config, **extra)
    elif extra:
        scheduler = type(scheduler).from_config(scheduler.config, **extra)
    return scheduler


def trajectory(case, prediction):
    scheduler = construct(case, prediction)
    scheduler.set_timesteps(case["steps"])
    timesteps = scheduler.timesteps
    start = case.get("start", 0) * scheduler.order
    generator = torch.Generator("cpu").manual_seed(SEED)
    if start:
        timesteps = timesteps[start:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(start)
        latents = scheduler.add_noise(CLEAN, INITIAL, timesteps[:1])
    else:
        latents = INITIAL * scheduler.init_noise_sigma
    extra = {"eta": case["eta"]} if case.get("eta") else {}
    if case.get("kind", case["class"]) in ["ddim", "euler_ancestral", "dpm_solver_multistep", "lcm"]:
        extra["generator"] = generator
    half = latents
    for i, t in enumerate(timesteps):
        output = model(scheduler.scale_model_input(latents, t), float(t))
        latents = scheduler.step(output, t, latents, return_dict=False, **extra)[0]
        if i == len(timesteps) // 2:
            half = latents
    facts = {"timesteps": numbers(timesteps, 9), "init_noise_sigma": float(f"{float(scheduler.init_noise_sigma):.9g}")}
    if not latents.isfinite().all():
        return facts, {"not_finite": True}
    result = {"last": numbers(latents)}
    if case["name"] in ["grid", "prk", "start"]:
        result["half"] = numbers(half)
    return facts, result


def run(case, predictions):
    case["runs"] = {}
    for prediction in predictions:
        try:
            facts, result = trajectory(case, prediction)
        except Exception as e:  # diffusers refuses, or falls over
            result = {"refused": f"{type(e).__name__}: {e}"[:70]}
            facts = {}
        # Facts that depend on the prediction type (continuous timesteps) have a case of their own.
        assert all(case.get(k, v) == v for k, v in facts.items()), case
        case.update(facts)
        case["runs"][prediction] = result
    return case


def cases():
    def case(name, of, steps, config, predictions=("epsilon",), **more):
        config = {"_class_name": CLASSES[of].__name__, **config}
        return run({"name": name, "class": of, "config": config, "steps": steps, **more}, predictions)

    for of in CLASSES:
        for spacing in SPACINGS:
            for steps in [1, 2, 3, 4, 7, 20, 50]:
                yield case("grid", of, steps, {**SD, **GRID, "timestep_spacing": spacing}, PREDICTIONS)

    # Noise schedules.
    trained = [round(0.001 + 0.02 * (i / 19) ** 2, 6) for i in range(20)]
    for of in CLASSES:
        for betas in [
            {},
            {"beta_start": 0.001, "beta_end": 0.015, "beta_schedule": "linear"},
            {"beta_schedule": "squaredcos_cap_v2"},
            {"trained_betas": trained, "num_train_timesteps": 20, "original_inference_steps": 10},
            {**SD, "num_train_timesteps": 250},
        ]:
            yield case("betas", of, 5, {**betas, **GRID}, ["epsilon", "v_prediction"])
    yield case("betas", "heun", 5, {"beta_schedule": "exp"})
    for of in ["ddim", "euler", "euler_ancestral", "dpm_solver_multistep", "unipc_multistep", "lcm"]:
        for spacing in ["leading", "trailing"]:
            config = {**SD, **GRID, "rescale_betas_zero_snr": True, "timestep_spacing": spacing}
            for steps in [1, 4, 20]:
                yield case("zero_snr", of, steps, config, PREDICTIONS)

    # Timesteps.
    for of in CLASSES:
        for offset in [0, 2]:
            for spacing in SPACINGS:
                config = {**SD, **GRID, "steps_offset": offset, "timestep_spacing": spacing}
                yield case("steps_offset", of, 6, config)
        # 48 steps have ties in the trailing rounding; with 61, numpy's arange is one too long.
        for steps in [48, 61]:
            yield case("trailing", of, steps, {**SD, **GRID, "timestep_spacing": "trailing"})

    # Noise levels.
    for of in ["lms", "euler", "heun", "dpm_solver_multistep", "unipc_multistep"]:
        for spacing in SPACINGS:
            for option in ["use_karras_sigmas", "use_exponential_sigmas"]:
                for steps in [1, 2, 7, 20, 50]:
                    config = {**SD, "steps_offset": 1, "timestep_spacing": spacing, option: True}
                    yield case("sigmas", of, steps, config, ["epsilon", "v_prediction"] if steps < 50 else ["epsilon"])
        for option in ["use_karras_sigmas", "use_exponential_sigmas"]:
            for more in [{"beta_schedule": "squaredcos_cap_v2"}, {"sigma_min": 0.05, "sigma_max": 12.5}]:
                yield case("sigmas", of, 7, {**SD, **more, option: True})
        for final in ["zero", "sigma_min"]:
            for more in [{}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}]:
                for steps in [1, 4, 20]:
                    config = {**SD, "steps_offset": 1, "timestep_spacing": "leading", "final_sigmas_type": final}
                    yield case("final_sigmas", of, steps, {**config, **more})
        yield case("karras", of, 7, SD, karras=True)
        yield case("karras", of, 7, {**SD, "use_karras_sigmas": True}, karras=False)
    for steps in [1, 4, 20]:
        yield case("log_linear", "euler", steps, {**SD, "interpolation_type": "log_linear"})
        for more in [{}, {"use_karras_sigmas": True}]:
            config = {**SD, "timestep_type": "continuous", **more}
            yield case("continuous", "euler", steps, config, ["v_prediction"])
            yield case("continuous", "euler", steps, config, ["epsilon"])
        for more in [{}, {"beta_schedule": "squaredcos_cap_v2"}]:
            yield case("lu_lambdas", "dpm_solver_multistep", steps, {**SD, **more, "use_lu_lambdas": True})

    # Options of one class.
    for of in ["pndm", "ddim", "lcm"]:
        for one in [True, False]:
            for offset in [0, 1]:
                config = {**SD, **GRID, "set_alpha_to_one": one, "steps_offset": offset}
                yield case("set_alpha_to_one", of, 4, config)
    for steps in [3, 4, 5, 7, 20, 50]:
        for spacing in SPACINGS:
            config = {**SD, "steps_offset": 1, "timestep_spacing": spacing, "skip_prk_steps": False}
            yield case("prk", "pndm", steps, config, ["epsilon", "v_prediction"])
    limits = [
        {"clip_sample": True},
        {"clip_sample": True, "clip_sample_range": 1.7},
        {"thresholding": True},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.83},
        {"thresholding": True, "sample_max_value": 0.5, "clip_sample": True},
    ]
    for of in ["ddim", "heun", "dpm_solver_multistep", "unipc_multistep", "lcm"]:
        for limit in limits:
            yield case("limits", of, 7, {**SD, "steps_offset": 1, **limit}, PREDICTIONS)
    for eta in [0.3, 1.0]:
        for spacing in SPACINGS:
            for steps in [1, 4, 20]:
                config = {**SD, **GRID, "timestep_spacing": spacing}
                yield case("eta", "ddim", steps, config, PREDICTIONS, eta=eta)
    for order in [1, 2, 3]:
        for algorithm in ["dpmsolver++", "sde-dpmsolver++"]:
            for solver in ["midpoint", "heun"]:
                for final in [{}, {"final_sigmas_type": "sigma_min"}, {"lower_order_final": False},
                              {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
                              {"euler_at_final": True, "final_sigmas_type": "sigma_min"}]:
                    config = {**SD, "solver_order": order, "algorithm_type": algorithm, "solver_type": solver, **final}
                    for steps in [2, 4, 16]:
                        yield case("dpm", "dpm_solver_multistep", steps, config)
    for spacing in SPACINGS:
        config = {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1, "timestep_spacing": spacing}
        yield case("lambda_min_clipped", "dpm_solver_multistep", 9, config)
    for order in [1, 2, 3]:
        for solver in ["bh1", "bh2"]:
            for x0 in [True, False]:
                for final in [{}, {"final_sigmas_type": "sigma_min"}, {"lower_order_final": False},
                              {"lower_order_final": False, "final_sigmas_type": "sigma_min"}]:
                    config = {**SD, "solver_order": order, "solver_type": solver, "predict_x0": x0, **final}
                    for steps in [2, 4, 16]:
                        yield case("unipc", "unipc_multistep", steps, config, PREDICTIONS if steps == 4 else ["epsilon"])
    for disabled in [[0], [0, 1], [2, 5]]:
        yield case("disable_corrector", "unipc_multistep", 7, {**SD, "disable_corrector": disabled})
    for steps in [1, 2, 4, 8, 20, 21]:
        config = {**SD, "original_inference_steps": 20, "timestep_scaling": 3.0}
        yield case("lcm", "lcm", steps, config, PREDICTIONS)

    # Image to image.
    for of in CLASSES:
        for start in [1, 2, 4, 9]:
            config = {**SD, **GRID, "timestep_spacing": "leading"}
            yield case("start", of, 10, config, ["epsilon", "v_prediction"], start=start)
    for of in ["lms", "euler", "heun", "dpm_solver_multistep", "unipc_multistep"]:
        yield case("start", of, 10, {**SD, "use_karras_sigmas": True, "solver_order": 3}, start=4)

    # One class's config in the hands of another.
    saved = {of: json.loads(cls.from_config(SD).to_json_string()) for of, cls in CLASSES.items()}
    rich = {
        **SD, "clip_sample": True, "set_alpha_to_one": True, "skip_prk_steps": False, "steps_offset": 1,
        "timestep_spacing": "trailing", "use_karras_sigmas": True, "rescale_betas_zero_snr": True, "solver_order": 3,
        "final_sigmas_type": "sigma_min", "solver_type": "heun", "sigma_min": 0.04, "clip_sample_range": 3.0,
    }
    for of in CLASSES:
        for kind in CLASSES:
            if kind != of:
                yield case("switch", of, 4, {**SD}, kind=kind)
                yield case("switch", of, 4, saved[of], kind=kind)
                yield case("switch", of, 4, {}, kind=kind)
                yield case("switch", of, 4, rich, ["v_prediction"], kind=kind)
        yield case("stable_diffusion", of, 5, {**SD}, stable_diffusion=True)
        yield case("stable_diffusion", of, 5, {**SD, "steps_offset": 2, "clip_sample": True}, stable_diffusion=True)
        for kind in ["ddim", "euler"]:
            if kind != of:
                yield case("stable_diffusion", of, 5, {**SD}, stable_diffusion=True, kind=kind)
                config = {**SD, "steps_offset": 0, "clip_sample": True, "timestep_spacing": "leading"}
                yield case("stable_diffusion", of, 5, config, stable_diffusion=True, kind=kind)


def alphas():
    """Every alphas_cumprod that the cases above stand on, sampled."""
    for config in [
        {},
        SD,
        {"beta_schedule": "squaredcos_cap_v2"},
        {**SD, "rescale_betas_zero_snr": True},
        {"rescale_betas_zero_snr": True},
        {**SD, "num_train_timesteps": 250},
        {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.015, "num_train_timesteps": 4001},
    ]:
        values = diffusers.DDIMScheduler.from_config(config).alphas_cumprod
        at = sorted({*range(0, len(values), max(1, len(values) // 30)), len(values) - 1})
        yield {"config": {"_class_name": "DDIMScheduler", **config}, "at": at, "values": numbers(values[at], 9)}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__}
    head = {"versions": versions, "seed": SEED, "initial": numbers(INITIAL), "clean": numbers(CLEAN)}
    lines = [f'"{key}":{json.dumps(value)}' for key, value in head.items()]
    for key, rows in [("alphas", alphas()), ("cases", cases())]:
        rows = ",\n".join(json.dumps(row, separators=(",", ":")).replace("-Infinity", '"-Infinity"') for row in rows)
        lines.append(f'"{key}":[\n{rows}\n]')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
