"""Engine torch-graph: what it needs, what it runs, its options."""

from __future__ import annotations

from servewatt.engines.entry import EngineEntry, on
from servewatt.engines.options import LINEAR, Option
from servewatt.records import Precision, Provider

ENTRY = EngineEntry(
    name="torch-graph",
    summary="PyTorch, own decoder, static cache; compiled, several steps in a CUDA graph",
    target="servewatt.engines.torch_graph.engine:TorchGraphEngine",
    packages=("torch", "safetensors"),
    extra="torch",
    supports=tuple(pair for p in Provider for pair in on(p, (t for t in Precision if t is not Precision.W8A8))),
    options=(
        Option(
            "compile",
            ("off", "default", "max-autotune"),
            "",
            "Inductor's mode for the decode step: max-autotune on CUDA at batch 1, else default there; off on the CPU.",
        ),
        Option("steps", ("1", "2", "4", "8", "16"), "8", "Most decode steps in one replay of a CUDA graph."),
        Option(
            "attention",
            ("sdpa", "fused", "triton", "split"),
            "",
            "Attention of one token a row: a kernel of our own (triton; the default on CUDA), PyTorch's (sdpa; the "
            "default on the CPU), what inductor fuses (fused), or our kernel with long contexts shared out (split).",
        ),
        Option(
            "one_row",
            ("compiled", "triton"),
            "",
            "A layer at batch 1: three or five kernels of our own (triton, the default on CUDA), or inductor's.",
        ),
        Option("bucket", ("64", "128", "256", "512"), "128", "Attention reads a multiple of this many cache columns."),
        Option("merge", ("on", "off"), "on", "One product each into and out of a parallel layer (GPT-NeoX, Phi)."),
        Option("region", ("layer", "step"), "layer", "What is compiled as one piece."),
        Option(
            "prefill",
            ("eager", "graph"),
            "",
            "graph: prompts padded to a multiple of 32, prefill recorded like a step; the default on CUDA.",
        ),
        Option(
            "prefill_products",
            ("unpacked", "triton", "auto"),
            "",
            "int8 and int4: prompts are multiplied by a floating copy of each matrix (unpacked), by a kernel that "
            "unpacks on the way (triton), or by the kernel up to 512 tokens (auto; the default on CUDA in bf16).",
        ),
        Option(
            "step_products",
            ("unpacked", "triton"),
            "",
            "int8 and int4 at batch 2 and more: the same for decode steps; triton is the default on CUDA in bf16.",
        ),
        LINEAR,
        Option(
            "compute",
            ("fp32", "bf16", "fp16"),
            "",
            "int8 and int4: the type of products and cache; bf16 on CUDA and fp32 on the CPU if not given.",
        ),
        Option("group", ("32", "64", "128"), "64", "int4: inputs that share a scale."),
        Option("inductor", (), "", "Further settings of inductor, name:value+name:value."),
    ),
    architectures=frozenset(
        {
            *("BloomForCausalLM", "GPT2LMHeadModel", "GPTBigCodeForCausalLM", "GPTNeoXForCausalLM"),
            *("Gemma2ForCausalLM", "Gemma3ForCausalLM", "GemmaForCausalLM", "GraniteForCausalLM"),
            *("GraniteMoeHybridForCausalLM", "LlamaForCausalLM", "MistralForCausalLM", "Olmo2ForCausalLM"),
            *("Phi3ForCausalLM", "PhiForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "SmolLM3ForCausalLM"),
            *("StableLmForCausalLM", "Starcoder2ForCausalLM"),
        }
    ),
)
