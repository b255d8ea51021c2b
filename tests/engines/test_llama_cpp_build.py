from __future__ import annotations

from pathlib import Path

from servewatt.engines import ENGINES
from servewatt.engines.llama_cpp.build import BuildVariables


def switches(tmp_path: Path, flags: str) -> dict[str, str]:
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    arguments = BuildVariables(path)["CMAKE_ARGS"].split()
    return dict(argument.removeprefix("-D").split("=") for argument in arguments)


def test_a_cpu_with_amx_is_built_for_without_it(tmp_path: Path) -> None:
    flags = "sse4_2 avx avx2 fma f16c bmi2 avx_vnni avx512f avx512cd avx512vl avx512dq avx512bw avx512vbmi avx512_vnni"
    chosen = switches(tmp_path, f"{flags} avx512_bf16 amx_tile amx_int8 amx_bf16")
    assert {name for name, value in chosen.items() if value == "OFF"} == {
        "GGML_NATIVE",
        "LLAVA_BUILD",
        "LLAMA_CURL",
        "LLAMA_OPENSSL",
    }
    assert {"GGML_AVX512", "GGML_AVX512_VNNI", "GGML_AVX512_BF16"} <= chosen.keys()
    assert not [name for name in chosen if "AMX" in name]


def test_what_the_cpu_lacks_is_off(tmp_path: Path) -> None:
    chosen = switches(tmp_path, "sse4_2 avx avx2 fma f16c bmi2 avx512f")
    assert (chosen["GGML_AVX2"], chosen["GGML_AVX512"], chosen["GGML_AVX512_VNNI"]) == ("ON", "OFF", "OFF")


def test_another_family_is_left_to_the_compiler(tmp_path: Path) -> None:
    assert switches(tmp_path, "fp asimd evtstrm")["GGML_NATIVE"] == "ON"
    assert BuildVariables(tmp_path / "missing")["CMAKE_ARGS"].startswith("-DGGML_NATIVE=ON")


def test_the_table_has_them() -> None:
    assert list(ENGINES["llama-cpp"].build_variables) == ["CMAKE_ARGS"]
