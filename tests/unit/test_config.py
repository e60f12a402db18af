import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.config_specs import ENGINES, POWER_SPECS, IpmiLike, NvmlLike, Privilege

from tokwatt.config import (
    CapacityPrice,
    Config,
    ConfigError,
    CounterConfig,
    ElectricityPrice,
    GpuRule,
    GpuSelection,
    ListenAddress,
    MeterConfig,
    Prices,
    ResponseConfig,
    RestRule,
    Role,
    ServerConfig,
    environment_defaults,
    load_config,
    read_config,
)
from tokwatt.units import mig_slices_of

FIXTURES = Path(__file__).parent.parent / "fixtures" / "config"
ENVIRON = {"BMC_PASSWORD": "hunter2"}
CHAT = "servers: [{name: chat, url: 'http://127.0.0.1:8000/metrics'}]\n"


def load(text, filename="tokwatt.yml", **other):
    return load_config(text, filename, power_specs=POWER_SPECS, engines=ENGINES, environ=ENVIRON, **other)


def mistakes_of(text, **other):
    with pytest.raises(ConfigError) as caught:
        load(text, **other)
    return caught.value.mistakes


def outcome(text):
    try:
        return load(text)[0], []
    except ConfigError as error:
        return None, [str(mistake) for mistake in error.mistakes]


def expectations(text):
    return [line.removeprefix("# expect: ").split(" ", 2) for line in text.splitlines() if line.startswith("# expect")]


@pytest.mark.parametrize("path", sorted((FIXTURES / "invalid").glob("*.yml")), ids=lambda path: path.stem)
def test_every_mistake_is_reported_at_its_place_and_nothing_else_is(path):
    with pytest.raises(ConfigError) as caught:
        read_config(path, power_specs=POWER_SPECS, engines=ENGINES, environ=ENVIRON)
    expected = expectations(path.read_text(encoding="utf-8"))
    found = caught.value.mistakes
    assert len(found) == len(expected), str(caught.value)
    for mistake, (line, key, text) in zip(found, expected, strict=True):
        assert (str(mistake.line or "-"), mistake.key or "-") == (line, key)
        assert text in str(mistake)
        where = f"{path}:{line}: " if line != "-" else f"{path}: "
        assert str(mistake).startswith(where if key == "-" else f"{where}{key}: ")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.mistakes)


def test_the_example_of_the_contract(tmp_path):
    secret = tmp_path / "bmc"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    text = (FIXTURES / "valid" / "contract.yml").read_text(encoding="utf-8")
    config, warnings = load(text.replace("/run/secrets/bmc", str(secret)))
    assert warnings == ()
    assert config == Config(
        listen=ListenAddress("127.0.0.1", 9844),
        tick_seconds=1,
        window_seconds=60,
        servers=(
            ServerConfig(
                name="chat",
                url="http://127.0.0.1:8000/metrics",
                engine="vllm",
                gpus=GpuSelection(every=True),
                hosts=("bmc1",),
                role=Role.BOTH,
                labels={"config": "fp8-tp1"},
            ),
        ),
        meters=(
            MeterConfig("nvml", "nvml", NvmlLike()),
            MeterConfig("ipmi", "bmc1", IpmiLike("127.0.0.1", username="monitor", port=623, password_file=str(secret))),
        ),
        prices=Prices(CapacityPrice(dollars_per_gpu_hour=2.5), ElectricityPrice(0.17), pue=1.0),
        responses=(ResponseConfig("chat", 1.2, 150, 0.000002),),
    )


def test_every_setting_reaches_its_field():
    config, warnings = load((FIXTURES / "valid" / "everything.yml").read_text(encoding="utf-8"))
    assert warnings == ()
    server, guard = config.servers
    assert (config.listen, config.tick_seconds, config.min_coverage) == (ListenAddress("::1", 9100), 0.5, 1)
    assert str(config.listen) == "[::1]:9100"
    assert config.reload_endpoint is True
    assert len(server.gpus.devices) == 2
    assert (server.hosts, server.role, server.model, server.timeout_seconds) == ((), Role.PREFILL, "org/model-70b", 2)
    assert server.labels == {"config": "8", "day": "2026-01-01", "window": "12:30"}
    assert server.capacity == CapacityPrice(dollars_per_hour=20, includes_electricity=True)
    assert server.verify_tls is False
    assert server.spec == {
        "path": "/stats",
        "quantities": {"output": [{"metric": "tokens_out", "sum_over": ["rank"]}]},
        "on": True,
        "n": 3,
        "nothing": None,
    }
    assert (guard.gpus, guard.hosts, guard.role) == (GpuSelection(), None, Role.SUPPORT)
    nvml, two, bmc = config.meters
    assert (nvml.options, two.options) == (NvmlLike(gpus=("GPU-b", "0")), NvmlLike(gpus=("GPU-a", "1")))
    assert bmc.options == IpmiLike("192.0.2.7", "monitor", password_env="BMC_PASSWORD", privilege=Privilege.OPERATOR)
    assert config.prices == Prices(None, ElectricityPrice(0), 1.25)
    assert config.responses[0] == ResponseConfig("guard", 1, 0, 0)


def test_responses_measured_by_a_counter_and_by_support_servers():
    config, warnings = load((FIXTURES / "valid" / "responses.yml").read_text(encoding="utf-8"))
    counter = CounterConfig("http://127.0.0.1:9000/metrics", "accepted_answers_total", {"service": "chat"}, 2)
    assert warnings == ()
    assert config.responses == (ResponseConfig("chat", meaningful=counter, support=("guardrail",)),)
    assert config.responses[0].counter_name == "chat/meaningful"
    assert ResponseConfig("chat").counter_name == ""


def test_an_empty_file_is_every_default():
    config, warnings = load((FIXTURES / "valid" / "empty.yml").read_text(encoding="utf-8"))
    assert (config, warnings) == (Config(), ())
    assert config.meters is None, "omitted meters are detected"
    assert load("meters: []")[0].meters == (), "an empty list is no meters"


def test_a_word_that_is_the_default_list_needs_no_brackets():
    assert load("meters: [{source: nvml, gpus: all}]")[0].meters[0].options == NvmlLike(gpus=("all",))


@pytest.mark.parametrize(("gpus", "expected"), [("", True), (", gpus: none", False), (", gpus: []", False)])
def test_the_only_server_owns_every_gpu_unless_it_says_otherwise(gpus, expected):
    config, _ = load(f"servers: [{{name: chat, url: 'http://h/m'{gpus}}}]")
    assert config.servers[0].gpus == GpuSelection(every=expected)


def test_of_several_servers_none_owns_a_gpu_by_default():
    config, _ = load("servers: [{name: a, url: 'http://h/m'}, {name: b, url: 'http://i/m', gpus: [1]}]")
    assert [server.gpus for server in config.servers] == [GpuSelection(), GpuSelection(devices=(1,))]


def test_a_secret_that_everybody_can_read_is_a_warning_without_its_content(tmp_path):
    secret = tmp_path / "bmc"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    file = tmp_path / "tokwatt.yml"
    file.write_text("meters:\n  - {source: ipmi, host: h, username: u, password_file: bmc}\n")
    config, warnings = read_config(file, power_specs=POWER_SPECS, engines=ENGINES)
    assert config.meters[0].options.password_file == str(secret), "relative to the configuration file"
    assert [str(w) for w in warnings] == [
        f"{file}:2: meters[0].password_file: every user of this host can read {secret}; chmod o-r it"
    ]


def test_an_empty_secret_file_is_a_mistake(tmp_path):
    (tmp_path / "bmc").touch()
    (mistake,) = mistakes_of(f"meters: [{{source: ipmi, host: h, username: u, password_file: {tmp_path}/bmc}}]")
    assert "is empty" in mistake.message


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (
            "{prices: {capacity: {dollars_per_hour: 3}}, servers: [{name: a, url: 'http://h/m'}, {name: b, url: 'http://i/m'}]}",
            "prices.capacity.dollars_per_hour",
            "each of the servers a, b is charged this price",
        ),
        (
            "prices: {capacity: {dollars_per_gpu_hour: 3}}\nservers: [{name: a, url: 'http://h/m', gpus: none}]",
            "servers[0]",
            "owns no GPU, so dollars_per_gpu_hour gives it no capacity price",
        ),
        (
            "servers: [{name: a, url: 'http://h/m', gpus: [0]}, {name: b, url: 'http://i/m', gpus: [GPU-a]}]",
            "servers",
            "two owners of one GPU cannot be seen here",
        ),
        (
            "servers: [{name: a, url: 'http://h/m'}, {name: b, url: 'http://h/m'}]",
            "servers[1].url",
            "servers[0] reads the same URL",
        ),
    ],
)
def test_what_is_legal_but_doubtful_is_a_warning(text, key, words):
    _, warnings = load(text)
    assert [w.key for w in warnings] == [key]
    assert words in str(warnings[0])


def test_a_spec_is_checked_by_whoever_owns_specs():
    def check_spec(spec, engine, where):
        assert (spec, engine) == ({"path": "x", "deep": {"list": [{"a": 1}]}}, "vllm")
        raise ValueError(f"{where}.deep.list[0].a: must be 2")

    text = (
        "servers:\n  - name: chat\n    url: http://h/m\n    engine: vllm\n    spec:\n"
        "      path: x\n      deep:\n        list:\n          - a: 1\n"
    )
    (mistake,) = mistakes_of(text, check_spec=check_spec)
    assert str(mistake) == "tokwatt.yml:9: servers[0].spec.deep.list[0].a: must be 2"


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yml: cannot be read: No such file"):
        read_config(tmp_path / "absent.yml", power_specs=POWER_SPECS, engines=ENGINES)
    (tmp_path / "latin1.yml").write_bytes(b"listen: :1\n# \xe9\xe9\n")
    with pytest.raises(ConfigError, match=r"latin1\.yml:2: not UTF-8 text"):
        read_config(tmp_path / "latin1.yml", power_specs=POWER_SPECS, engines=ENGINES)


def test_the_environment_gives_defaults():
    assert environment_defaults({}).listen is None
    given_ = environment_defaults({"TOKWATT_CONFIG": "/etc/tokwatt.yml", "TOKWATT_LISTEN": ":1"})
    assert (given_.config, given_.listen) == (Path("/etc/tokwatt.yml"), ListenAddress("", 1))
    assert environment_defaults({"TOKWATT_CONFIG": ""}).config is None
    with pytest.raises(ConfigError, match=r"environment: TOKWATT_LISTEN: bad listen address '9844': no port"):
        environment_defaults({"TOKWATT_LISTEN": "9844"})


def test_the_file_does_not_expand_environment_variables():
    config, _ = load("servers: [{name: \"${BMC_PASSWORD}\", url: 'http://h/m'}]")
    assert config.servers[0].name == "${BMC_PASSWORD}"


@pytest.mark.parametrize(
    "word", ["*hunter2", "!hunter2", "!hunter2!x y", "%hunter2", "'hunter2", "[hunter2", "a: hunter2"]
)
@pytest.mark.parametrize("key", ["password", "password_file", "password_env", "host", "bearer_token"])
def test_a_password_in_a_wrong_place_is_not_repeated(word, key):
    text = f"meters:\n  - source: ipmi\n    username: u\n    {key}: {word}\n"
    assert "hunter2" not in "\n".join(outcome(text)[1])


def test_deep_nesting_and_recursion_are_mistakes():
    assert "nested deeper" in mistakes_of("[" * 5000)[0].message
    assert "alias (*)" in mistakes_of("servers: &a [*a]\n")[0].message


CORPUS = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.glob("*/*.yml"))]
WORDS = sorted({word for text in CORPUS for word in re.findall(r"[\w./:-]+|[^\w\s]|\n *", text)})
yaml_soup = st.lists(st.sampled_from([*WORDS, ": ", "- ", "\n", "~", '"', "&a", "<<: "]), max_size=40).map("".join)


@st.composite
def spoiled(draw):
    text = draw(st.sampled_from(CORPUS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 12)))
    return text[:start] + draw(st.one_of(st.text(max_size=5), st.sampled_from(WORDS))) + text[end:]


@given(st.one_of(st.text(), yaml_soup, spoiled()))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_configuration_or_its_mistakes(text):
    config, mistakes = outcome(text)
    assert (config is None) == bool(mistakes)
    assert all(mistake.isprintable() for mistake in mistakes)
    assert config is None or "" not in {server.name for server in config.servers}


plain_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(WORDS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["listen", "servers", "meters", "prices", "responses", "tick_seconds", "reload_endpoint"]),
        st.one_of(
            plain_values,
            st.lists(
                st.dictionaries(
                    st.sampled_from(["name", "url", "gpus", "hosts", "labels", "spec", "capacity", "source", "server"]),
                    plain_values,
                ),
                max_size=3,
            ),
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_structure_gives_a_configuration_or_its_mistakes(tree):
    config, mistakes = outcome(json.dumps(tree))
    assert (config is None) == bool(mistakes)


def warnings_of(text):
    return [str(warning) for warning in load(text)[1]]


TWO_SERVERS = "servers: [{name: a, url: 'http://h:1/m', gpus: [0]}, {name: b, url: 'http://h:2/m', gpus: [0, 1]}]\n"


def test_a_gpu_may_be_listed_twice_where_a_rule_divides_it():
    assert "list each GPU once, or name a rule" in str(mistakes_of(TWO_SERVERS)[0])
    config, warnings = load(TWO_SERVERS + "sharing: {gpu: tokens, host_rest: gpu_energy}")
    assert (config.sharing.gpu, config.sharing.host_rest) == (GpuRule.TOKENS, RestRule.GPU_ENERGY)
    assert warnings == ()


@pytest.mark.parametrize(
    ("profile", "slices"), [("3g.40gb", 3), ("1g.10gb+me", 1), ("1c.3g.20gb", 1), ("7g.80gb", 7), ("MIG 2g.24gb", 2)]
)
def test_compute_slices_of_mig_profiles(profile, slices):
    assert mig_slices_of(profile) == slices


def test_several_host_meters_of_one_server_are_warned_of_unless_the_configuration_says_whose_they_are():
    one, other = "{source: ipmi, name: a, host: h1, username: u", "{source: series, name: b, boundary: host"
    meters = "meters: [%s%s}, %s%s}]\n"
    assert "the energy of 2 host meters adds up: a, b" in warnings_of(CHAT + meters % (one, "", other, ""))[0]
    assert not warnings_of(CHAT + meters % (one, ", machine: node1", other, ", machine: node2"))
    named = CHAT.replace("name: chat", "name: chat, hosts: [a, b]")
    assert not warnings_of(named + meters % (one, "", other, ""))


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("ipmi, host: h, username: u", "redfish, host: h", True),
        ("ipmi, host: h, username: u", "redfish, host: g", False),
        ("ipmi, host: 127.0.0.1, username: u", "redfish, host: 127.0.0.1", False),  # two tunnels
        ("ipmi, host: h, username: u", "ipmi, host: h, port: 6230, username: u", False),  # a router's two ports
        ("ipmi_local", "ipmi, host: h, username: u", False),  # nobody can tell: a warning only
    ],
)
def test_two_host_meters_of_one_machine_are_refused(one, other, refused):
    text = f"meters: [{{source: {one}, name: a}}, {{source: {other}, name: b}}]"
    found = outcome(text)[1]
    assert ["count twice" in mistake for mistake in found] == [True] * refused
