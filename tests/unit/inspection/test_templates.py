"""Chat templates: those that reach into Python are held, in whatever words; honest ones pass."""

from __future__ import annotations

import json

import pytest

from tests.support.containers import MODEL, zipped
from tests.support.inspecting import codes, verdict

HOSTILE = [
    "{% set x = '_' %}{{ ''[x*2 + 'class' + x*2] }}",
    "{% set n = '--class--'.replace('-', '_') %}{{ x[n] }}",
    "{% set n = '__klass__'|replace('k', 'c') %}{{ x[n] }}",
    "{{ ''['{0}{0}class{0}{0}'.format('_')] }}",
    "{{ x['__CLASS__'.lower()] }}",
    "{{ self._TemplateReference__context }}",
    "{{ messages|map(attribute=role)|list }}",
    "{{ messages|groupby(role) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{% endfor %}",
    "{{ ''|attr('x') }}",
    "{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''['\\u005f_class__'] }}",
    "{{ ''['__cl' ~ 'ass__'] }}",
    "{{ ''['__cl' 'ass__'] }}",
    "{{ ''['__cl' + 'ass__'] }}",
    "{{ ''['_' * 2 + 'class' + '_' * 2] }}",
    "{{ ''[('_', '_', 'class', '_', '_') | join] }}",
    "{{ ''['%c%cclass%c%c' | format(95, 95, 95, 95)] }}",
    "{% set k = '__ssalc__' | reverse %}{{ ''[k] }}",
    "{{ cycler.next }}",
    "{{ lipsum }}",
    "{{ joiner }}",
    "{{ os.popen('id') }}",
    "{{ x['popen']('id') }}",
    "{% import 'x' as y %}",
    "{%- from 'x' import y %}",
    "{%+ include 'x' %}",
    "{% extends 'x' %}",
    "{{ {'a': {}}.mro() }}",
    "{{ '}}' }}{{ ''.__mro__ }}",
    "{# {{ #}{{ x.gi_frame.f_globals }}",
    "{{ x.func_globals",
    "{{ eval('1') }}",
    "{{" + "(" * 100 + "1",
    "Be nice.\n" * (1 << 17) + "{{ 1 }}",
]
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' +"
    " message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_NAMESPACE = (
    "{%- if messages[0]['role'] == 'system' %}{%- set loop_messages = messages[1:] %}"
    "{%- set ns = namespace(found=false, last=messages|length - 1) %}{%- endif %}"
)
_TOOLS = (
    "{%- for tool in tools | selectattr('type', 'equalto', 'function')"
    " | map(attribute='function') %}{{ tool | tojson(indent=4) }}{%- endfor %}"
)
_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
)
HONEST = [
    "hello {{",
    "{% if messages|map(attribute='role')|list %}{{ message['role'] }}{% endif %}",
    _CHATML,
    _NAMESPACE,
    _TOOLS,
    _ALTERNATE,
    "{{- messages[messages|length - 1].content.split('</think>')[-1].lstrip('\\n') }}",
    "Cutting Knowledge: {{ strftime_now('%d %b %Y') }}. You may write `import os` and `os.popen`.",
    "{%- macro line(x, n) %}{{ '  ' * n ~ x['name'] ~ ': ' ~ x.get('type', 'any') }}{% endmacro %}",
    "{% set parts = ['<tool>' ~ name, content] | join %}{{ parts | trim }}{# don't #}",
    "{{ bos_token }}{% if tools is not none and (messages|length) - 1 == loop.index0 %}{% endif %}",
    "",
]


def folder(template: object) -> bytes:
    config = json.dumps({"chat_template": template}).encode()
    return zipped([("m/model.safetensors", MODEL), ("m/tokenizer_config.json", config)])


@pytest.mark.parametrize("template", HOSTILE)
def test_what_reaches_into_python_is_held(template: str) -> None:
    data = zipped([("m/model.safetensors", MODEL), ("m/chat_template.jinja", template.encode())])

    assert codes(data, "m.zip") == {"template.reaches_python"}
    assert verdict(data, "m.zip") == "review"
    if len(template) < 1 << 19:
        assert verdict(folder(template), "m.zip") == "review"
        named = [{"name": "default", "template": "{{ x }}"}, {"name": "b", "template": template}]
        assert verdict(folder(named), "m.zip") == "review"


@pytest.mark.parametrize("template", HONEST)
def test_honest_templates_pass(template: str) -> None:
    assert codes(folder(template), "m.zip") == set()


@pytest.mark.parametrize(
    "part", ["{{", "{{'", "{#", "{{ a", '{{"\\', "{{ [", "{%", "{{ x|", "'", '"\\"']
)
def test_templates_of_one_part_without_end_are_judged(part: str) -> None:
    data = zipped([("model.safetensors", MODEL), ("a.jinja", (part * 100_000).encode())])

    assert verdict(data, "m.zip") in {"accept", "review"}
