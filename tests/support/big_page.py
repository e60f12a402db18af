"""A metrics page of a big vLLM deployment, made from the recorded one: every series for many models and ranks."""

from support.captures import body

ENGINE = b'engine="0"'
MODEL = b'model_name="tiny-llama"'


def big_page(models: int = 10, ranks: int = 6) -> bytes:
    """Return 22,000 samples in 2.5 MB by default. Values differ from series to series; families stay grouped."""
    lines: list[bytes] = []
    group: list[bytes] = []
    for line in body("vllm/0.32.0__loaded").splitlines():
        if ENGINE in line and MODEL in line:
            group.append(line)
            continue
        lines += _multiplied(group, models, ranks)
        group = []
        lines.append(line)
    return b"\n".join([*lines, *_multiplied(group, models, ranks), b""])


def _multiplied(group: list[bytes], models: int, ranks: int) -> list[bytes]:
    out = []
    for model in range(models):
        name = b'model_name="mistralai/Mixtral-8x22B-v0.1-%02d"' % model
        for rank in range(ranks):
            for line in group:
                series, _, value = line.replace(ENGINE, b'engine="%d"' % rank).replace(MODEL, name).rpartition(b" ")
                out.append(b"%s %r" % (series, float(value) * (1 + model) + rank))
    return out
