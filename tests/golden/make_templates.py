#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes templates.json: what transformers renders from many small and some whole chat templates.

    make_templates.py            needs transformers and jinja2

Every case is {template, variables, output} or, where transformers raises, {template, variables, error: its message}.
With spans (character ranges of `generation` blocks) where the template has them.
"""
import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices

CHAT = [
    {"role": "system", "content": "Be brief. <b>&amp;</b>"},
    {"role": "user", "content": "  Hello, wörld! 你好 😀\n"},
    {"role": "assistant", "content": "Hi \"there\".\n\tHow's it going?"},
    {"role": "user", "content": "Fine"},
]
ANSWERED = CHAT + [{"role": "assistant", "content": "Good."}]
PLAIN = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather <here> & there",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name é"},
                    "days": {"type": ["integer", "null"], "enum": [1, 2, 3], "default": 1.0},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "Time", "parameters": {}}},
]
CALLS = [
    {"role": "user", "content": "Weather in Paris?"},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}}]},
    {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "{\"t\": 21.5}"},
    {"role": "assistant", "content": "21.5 degrees"},
]
BASE = {"bos_token": "<s>", "eos_token": "</s>"}
VALUES = {
    "a": 7, "b": -3, "f": 2.5, "s": "Hello World", "u": "ÄÖü ß łódź", "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"],
    "d": {"x": 1, "y": {"z": [1, 2, {"k": "v"}]}, "n": None, "t": True}, "e": "", "el": [], "blank": "  \t x y \n ",
    "rows": [{"name": "b", "n": 2, "tag": "p"}, {"name": "A", "n": 10, "tag": "q"}, {"name": "c", "n": 1, "tag": "p", "z": 1}],
    "quote": "it's", "both": "it's \"q\"", "code": "a\\b\n\t\u0007\u00e9\u200b\U0001f600", "none": None, "yes": True, "no": False,
    "html": "<a href='x'>&</a>", "csv": "a,b,,c", "big": 123456789012, "tiny": 1e-7, "huge": 1e22, "lines": "one\ntwo\r\n\nthree\n",
}

EXPRESSIONS = r"""
1 + 2 * 3
a // 2
a / 2
b // 2
b % 2
a % b
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
-2 ** 2
2 ** 3 ** 2
a - -b
+a
1_000 + 1
1e3
1.5e-7
0.1 + 0.2
1.0
100000000000000000.0
123456.789
tiny
huge
big * 3
f
f * 2
1 / 3
1 == 1.0
true == 1
true + 1
'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1, 'x']
'a' + 'b'
'ab' * 3
[1] * 2 + [2]
(1, 2) + (3,)
'x' 'y' "z"
"tab\tnl\nq\"\x41\u00e9\q"
'\''
a < 10
1 < 2 < 3
1 < 3 < 2
'a' < 'b'
[1, 2] < [1, 3]
a == 7 and b == -3
a != 7 or yes
not a
not not a
a and 0
0 or 'x'
'' or none
'ell' in s
'z' not in s
1 in l
'x' in d
'zz' in d
none in [none]
3 not in l
not 'x' in d
missing in l
'x' in missing
s[0]
s[-1]
s[1:3]
s[::-1]
s[:-1]
s[::2]
u[0]
u[1:3]
l[0]
l[-1]
l[1:]
l[::-1]
l[5:]
l[-2:]
words[:2]
s[100:]
l[-100:2]
l[3:0:-1]
d.x
d['x']
d.y.z[2].k
d.y.z.2.k
d.missing
d['missing'] is defined
missing is defined
d.missing is none
d.n is none
d.n
d.t
d.y
l.0
rows[1].name
'yes' if a else 'no'
'x' if false
('x' if false) is defined
1 if no else 2 if yes else 3
[1, 2, 3] if yes
(a if a > 3 else b) + 1
[]
{}
()
(1,)
(1, 2)
[1, 'a', none, true, 1.5]
{'a': 1, 'b': [2]}
{1: 2, none: 'x'}
[quote, both, code]
[html]
{'a': 1}['a']
{'k': 'v'}.k
[[], {}]
s.upper()
s.lower()
u.upper()
u.lower()
'hELLO wORLD-foo'.title()
'hELLO wORLD'.capitalize()
'aB'.swapcase()
blank.strip()
blank.lstrip()
blank.rstrip()
'xxaxx'.strip('x')
'xyaxy'.lstrip('xy')
'abc'.rstrip('c')
csv.split(',')
csv.split(',', 1)
csv.rsplit(',', 1)
blank.split()
'a b  c d'.split(none, 2)
'a b c'.rsplit(maxsplit=1)
' '.split()
''.split(',')
lines.splitlines()
lines.splitlines(true)
'a</think>b</think>c'.split('</think>')[-1]
s.startswith('He')
s.endswith(('x', 'ld'))
s.startswith('x')
s.replace('l', 'L')
s.replace('l', 'L', 1)
'aaa'.replace('', '-')
s.find('o')
s.rfind('o')
s.find('q')
s.index('W')
s.count('l')
u.find('ß')
', '.join(words)
'abc'.removeprefix('a')
'abc'.removesuffix('c')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'7'.zfill(3)
'-7'.zfill(4)
'ab'.center(7, '*')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5)
'12'.isdigit()
'a1'.isalnum()
'ab'.isalpha()
''.isalpha()
' '.isspace()
'AB'.isupper()
'ab1'.islower()
'{} and {}'.format(1, 'x')
'{1} {0} {{}} {n}'.format(1, 2, n='q')
'%s is %d' % ('a', 3)
'%5.2f|%-6s|%06d|%+d|%x|%%' % (3.14159, 'ab', 42, 5, 255)
'%s' % 'x'
'%r' % 'x'
d.items() | list
d.keys() | list
d.values() | list
d.get('x')
d.get('q')
d.get('q', 5)
d.get('n', 5)
l.index(2)
l.count(3)
[1, 1].count(1)
l | length
s | length
u | length
d | length
missing | length
words | first
words | last
el | first
l | sort
words | sort
words | sort(reverse=true)
words | sort(case_sensitive=true)
rows | sort(attribute='n') | map(attribute='name') | list
rows | sort(attribute='tag,n') | map(attribute='n') | join(',')
words | unique | list
words | unique(case_sensitive=true) | list
rows | map(attribute='tag') | unique | join('-')
l | reverse | list
s | reverse
l | sum
rows | sum(attribute='n')
rows | sum('n', 100)
l | min
l | max
words | max
rows | max(attribute='n')
el | max
words | join
words | join(', ')
rows | join('+', attribute='name')
[1, none, true] | join(' ')
'abc' | join('.')
d | join(',')
words | map('upper') | join(' ')
words | map('replace', 'p', 'P') | list
l | map('string') | list
rows | map(attribute='z', default='?') | list
rows | map(attribute='z') | list | length
rows | selectattr('z') | list | length
rows | selectattr('tag', 'equalto', 'p') | map(attribute='name') | list
rows | rejectattr('tag', 'eq', 'p') | list
rows | selectattr('n', '>', 1) | map(attribute='n') | list
l | select('odd') | list
l | reject('odd') | list
l | select('in', [1, 2]) | list
[0, 1, '', 'x'] | select | list
rows | selectattr('z', 'defined') | list | length
l | select('>', 1) | list
l | select('divisibleby', 3) | list
s | upper
s | lower
'hello world-foo (bar' | title
'HELLO world' | capitalize
blank | trim
'xxaxx' | trim('x')
s | replace('o', '0')
s | replace('o', '0', 1)
5 | replace('5', 'x')
s | string
12 | string
html | e
html | safe
s | wordcount
lines | indent
lines | indent(2, true)
lines | indent(2, blank=true)
'a\nb' | indent('> ')
'x' | center(5) ~ '|'
'%s-%s' | format('a', 1)
'12' | int
'12.7' | int
'x' | int
'x' | int(5)
'ff' | int(base=16)
2.9 | int
-2.9 | int
none | int
true | int
'2.5' | float
'x' | float
'x' | float(1.5)
3 | float
2.5 | round
3.5 | round
2.567 | round(2)
2.1 | round(method='ceil')
2.567 | round(1, 'floor')
5 | round
-5 | abs
b | abs
-2.5 | abs
1e3 | int
missing | default('x')
missing | d('y')
none | default('x')
none | default('x', true)
'' | default('x', boolean=true)
0 | default(1)
missing.x is defined
d.q | default([]) | length
missing | default
d | tojson
rows | tojson
code | tojson
html | tojson
quote | tojson
none | tojson
true | tojson
1.0 | tojson
1e22 | tojson
tiny | tojson
u | tojson
u | tojson(ensure_ascii=true)
code | tojson(true)
d | tojson(indent=2)
d | tojson(indent=4)
[] | tojson(indent=2)
{'a': {}} | tojson(indent=2)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
[1, 2] | tojson(separators=(',', ':'))
{'a': 1} | tojson(separators=(',', ':'))
{1: 2, none: 3, true: 4} | tojson
(1, 2) | tojson
[d.n, d.t] | tojson
[1] | tojson(indent='--')
d | items | list
missing | items | list
d | dictsort
{'B': 1, 'a': 3, 'C': 2} | dictsort
{'B': 1, 'a': 3} | dictsort(true)
{'B': 1, 'a': 3, 'C': 2} | dictsort(by='value')
{'B': 1, 'a': 3} | dictsort(reverse=true)
l | batch(2) | list
l | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
d | attr('items') is callable
a is number
s is string
s is number
yes is number
yes is integer
a is integer
f is float
a is float
yes is boolean
1 is boolean | d is mapping
l is mapping
l is iterable
s is iterable
a is iterable
l is sequence | d is sequence
s is sequence
none is none | e is none
a is odd
a is even
9 is divisibleby 3
9 is divisibleby(2)
a is eq 7
a is equalto 7
a is ne 7
a is gt 3
a is ge(7)
a is lt 3
a is le 7
1 is in [1, 2]
'x' is in d
yes is true
1 is true
no is false
yes is sameas true
'ABC' is upper
'abc' is lower
range is callable
a is callable
a is not odd
s is not string
not s is string
missing is undefined
a is defined and s is string
a is string or l is iterable
range(3) | list
range(1, 4) | list
range(5, 0, -2) | list
range(0) | list
range(3) | join(',')
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
namespace(a=1).a
strftime_now is callable
missing | string
[missing] | length
(missing, 1) | last
-a | abs
'a' | upper ~ 'b'
a + '3' | int
l | length > 2
l | length == 3 and yes
(l | length) * 2
'x' | default('y') | upper
not missing
'a,b' | replace(',', ';') | upper
s | list | first
'é' | upper
'ǆ' | upper
'straße' | upper
'İ' | lower
'ΑΣΑ' | lower
""".strip().splitlines()

WHOLE = {
    # White space control.
    "plain": "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "lstrip": "a\n    {% if true %}   \n  b\n    {% endif %}\nc",
    "lstrip_text_before": "x   {% if true %}y{% endif %}  z\n",
    "no_lstrip": "a\n  {%+ if true %}\nb{% endif %}",
    "no_trim": "{% if true +%}\nb\n{% endif +%}\nc",
    "minus": "a  \n {%- if true -%} \n b \n {%- endif -%} \n c",
    "print_minus": "a \n {{- 'x' -}} \n b {{ 'y' }}\n c\n   {{ 'z' }}   \n",
    "comment": "a {# c #} b\n  {# d #}\n e {#- f -#} g\n{# {{ x }} #}h {#+ i +#}\n j",
    "comment_trim": "a\n{#- x #}\n\nb\n  {# y -#}\n  c",
    "raw": "{% raw %}{{ x }} {% if %}\n{% endraw %}|{%- raw -%}  a  {%- endraw -%}  b",
    "raw_lstrip": "  {% raw %}\n  x\n  {% endraw %}\ny",
    "newlines": "a\r\nb\rc\n\r\n{{ 'x' }}\r\n",
    "final_newlines": "a\n\n",
    "only_newline": "\n",
    "empty": "",
    "braces": "{ {{ {'a': {'b': 1}}['a'] }} } {{ '}}' }} {% set x = '%}' %}{{ x }}",
    "unicode_blank": "a\u00a0{%- if true %}\u2003b{%- endif %}",
    "data_only": "no tags { % } }} %} #}",
    # Statements.
    "for": "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ', ' if not loop.last }}{% endfor %}",
    "loop_names": "{% for x in words %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.previtem is defined }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }}{{ loop.depth }};{% endfor %}",
    "loop_changed": "{% for r in rows %}{{ loop.changed(r.tag) }} {% endfor %}",
    "for_else": "{% for x in el %}a{% else %}none{% endfor %}{% for x in missing %}a{% else %}gone{% endfor %}",
    "for_if": "{% for x in l if x != 1 %}{{ loop.index }}{{ x }}{{ loop.last }} {% endfor %}",
    "for_if_else": "{% for x in l if x > 9 %}a{% else %}b{% endfor %}",
    "for_dict": "{% for k in d %}{{ k }},{% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "for_pairs": "{% for (a1, b1), c1 in [((1, 2), 3)] %}{{ a1 }}{{ b1 }}{{ c1 }}{% endfor %}",
    "for_text": "{% for c in u %}[{{ c }}]{% endfor %}",
    "for_tuple": "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "for_nested": "{% for x in l %}{% for y in words[:2] %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }}|{% endfor %}",
    "break_continue": "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "scope": "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "scope_if": "{% if true %}{% set x = 5 %}{% endif %}{{ x }}{% for i in [1] %}{% if true %}{% set y = 1 %}{% endif %}{{ y }}{% endfor %}{{ y is defined }}",
    "namespace": "{% set ns = namespace(n=0, found=false) %}{% for i in l %}{% set ns.n = ns.n + i %}{% set ns.last = i %}{% endfor %}{{ ns.n }} {{ ns.last }} {{ ns.found }} {{ ns.none is defined }}",
    "namespace_list": "{% set ns = namespace(items=[]) %}{% for i in l %}{% set ns.items = ns.items + [i * 2] %}{% endfor %}{{ ns.items }}",
    "set_block": "{% set t %}\n  a{{ 1 }}\n{% endset %}[{{ t }}]{% set t | upper | trim %} b {% endset %}[{{ t }}]",
    "set_tuple": "{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set z = 1, 2 %}{{ z }}",
    "with": "{% with x = 1, y = a %}{{ x }}{{ y }}{% endwith %}{{ x is defined }}{% with %}{% set q = 1 %}{% endwith %}{{ q is defined }}",
    "macro": "{% macro f(x, y=2, z=y) %}<{{ x }}{{ y }}{{ z }}>{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(y=5, x='q') }}{{ f('a') | upper }}{{ f() }}",
    "macro_scope": "{% set g = 1 %}{% macro f() %}{{ g }}{% set g = 9 %}{{ g }}{% endmacro %}{{ f() }}{% set g = 2 %}{{ f() }}{{ g }}",
    "macro_recursive": "{% macro f(n) %}{{ n }}{% if n > 0 %} {{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "macro_in_loop": "{% macro show(m) %}{{ m.name }}{% endmacro %}{% for r in rows %}{{ show(r) }}{% if not loop.last %},{% endif %}{% endfor %}",
    "call": "{% macro box(t) %}[{{ t }}:{{ caller() }}]{% endmacro %}{% call box('x') %}in{{ a }}{% endcall %}",
    "call_arguments": "{% macro each(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(v) each(l) %}<{{ v }}>{% endcall %}",
    "filter_block": "{% filter upper | replace('A', '4') %}abc {{ 'a' }}{% endfilter %}",
    "if_chain": "{% if a == 1 %}1{% elif a == 7 %}7{% else %}x{% endif %}{% if none %}a{% elif '' %}b{% elif 0.0 %}c{% else %}d{% endif %}",
    "nested_if": "{% if a %}{% if not b %}1{% else %}{% if f %}2{% endif %}{% endif %}{% endif %}",
    "print_tag": "{% print a, b %}",
    "print_tuple": "{{ a, b }}",
    "spread": "{% macro f(x, y) %}{{ x }}-{{ y }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'x': 3, 'y': 4}) }}",
    "generation_if": "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n{% else %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}",
    "generation_lines": "{% for m in messages %}\n  {%- if m['role'] == 'assistant' %}\n    {%- generation %}\n{{ m.content | trim }}<|end|>\n    {%- endgeneration %}\n  {%- else %}\n{{ m.content }}\n  {%- endif %}\n{%- endfor %}",
    # Errors.
    "raise": "{{ raise_exception('Roles must alternate, ' ~ a) }}",
    "undefined_attribute": "{{ missing.x }}",
    "undefined_add": "{{ missing + 1 }}",
    "undefined_deep": "{{ d.q.r }}",
    "undefined_call": "{{ missing() }}",
    "none_iterate": "{% for x in none %}{% endfor %}",
    "int_iterate": "{% for x in 3 %}{% endfor %}",
    "add_types": "{{ 'a' + 1 }}",
    "compare_types": "{{ 'a' < 1 }}",
    "append": "{% set _ = l.append(1) %}",
    "update": "{{ d.update({'a': 1}) }}",
    "divide": "{{ 1 / 0 }}",
    "unclosed": "{% if a %}x",
    "unclosed_print": "{{ a ",
    "unclosed_comment": "{# a",
    "unknown_tag": "{% foo %}",
    "unknown_filter": "{{ a | foo }}",
    "unknown_test": "{{ a is foo }}",
    "wrong_end": "{% if a %}{% endfor %}",
    "json_undefined": "{{ missing | tojson }}",
    "too_many": "{% macro f(x) %}{% endmacro %}{{ f(1, 2) }}",
    "unknown_argument": "{% macro f(x) %}{% endmacro %}{{ f(y=2) }}",
    "unpack": "{% for a1, b1 in [[1, 2, 3]] %}{% endfor %}",
    "range_large": "{{ range(1000000) | length }}",
    "sort_mixed": "{{ [1, 'a'] | sort }}",
    "brackets": "{{ (1] }}",
    "empty_print": "{{ }}",
    "break_outside": "{% break %}",
}

# Whole chat templates, written for this test in the idioms of the families they are named after.
FAMILIES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama2": """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- Take the system message out, to put it in its place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}""",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
    "qwen_tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are helpful.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "thinking": """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "phi3": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "deepseek": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{'<|Assistant|><think>\\n'}}{% endif %}",
    "schema_macro": """{%- macro json_to_python_type(json_spec) %}
    {%- set basic = {"string": "str", "integer": "int", "boolean": "bool", "number": "float"} %}
    {%- if basic[json_spec.type] is defined %}
        {{- basic[json_spec.type] }}
    {%- elif json_spec.type == "array" %}
        {{- "list[" + json_to_python_type(json_spec.items) + "]" }}
    {%- elif json_spec.type is iterable and json_spec.type is not string and json_spec.type is not mapping %}
        {{- "Union[" }}
        {%- for t in json_spec.type %}
            {{- json_to_python_type({"type": t}) }}
            {%- if not loop.last %}{{- "," }}{%- endif %}
        {%- endfor %}
        {{- "]" }}
    {%- else %}
        {{- "Any" }}
    {%- endif %}
{%- endmacro %}
{%- for tool in tools or [] %}
    {%- if tool.function is defined %}{%- set tool = tool.function %}{%- endif %}
    {{- tool.name + '(' }}
    {%- for name, fields in (tool.parameters.properties or {}) | items %}
        {{- name + ": " + json_to_python_type(fields) }}
        {%- if not loop.last %}{{- ", " }}{%- endif %}
    {%- endfor %}
    {{- ")\\n" }}
{%- endfor %}
{%- for m in messages | selectattr('role', 'ne', 'system') %}
    {{- m.role | upper ~ ': ' ~ (m.content or '') | trim ~ '\\n' }}
{%- endfor %}
""",
    "parts": "{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part.type == 'image' %}<image>{% endif %}{% endfor %}{% endif %};{% endfor %}",
    "documents": "{% if documents %}{% for doc in documents %}Document: {{ loop.index0 }}\n{% for key, value in doc.items() %}{{ key | title }}: {{ value }}\n{% endfor %}{% endfor %}{% endif %}{{ messages | map(attribute='content') | join('|') }}",
}


def run(template, variables):
    try:
        compiled = _compile_jinja_template(template)
        case = {"output": compiled.render(**variables)}
        if "generation %}" in template:
            text, spans = _render_with_assistant_indices(compiled, variables["messages"], None, None, False,
                                                         **{k: v for k, v in variables.items() if k not in ("messages", "add_generation_prompt")})
            assert text == case["output"]
            case["spans"] = [list(s) for s in spans]
        return case
    except Exception as problem:  # whatever transformers raises
        return {"error": f"{type(problem).__name__}: {problem}"}


def main():
    cases = []
    for expression in EXPRESSIONS:
        template = "{{ " + expression + " }}"
        cases.append({"name": expression, "template": template, "variables": "values", **run(template, dict(VALUES))})
    for name, template in WHOLE.items():
        variables = "chat" if "generation" in name else "values"
        given = {"messages": ANSWERED, **BASE} if variables == "chat" else VALUES
        cases.append({"name": name, "template": template, "variables": variables, **run(template, dict(given))})
    contexts = {
        "chat_prompt": {"messages": CHAT, "add_generation_prompt": True, **BASE},
        "chat": {"messages": ANSWERED, **BASE},
        "plain": {"messages": PLAIN, "add_generation_prompt": False, **BASE},
        "tools": {"messages": CALLS, "tools": TOOLS, "add_generation_prompt": True, **BASE},
        "thought": {"messages": PLAIN + [{"role": "user", "content": "2+2?"},
                    {"role": "assistant", "content": "<think>\nEasy.\n</think>\n\n4"}], "enable_thinking": False, **BASE},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}]}],
                  "documents": [{"title": "T", "text": "body"}], **BASE},
    }
    for family, template in FAMILIES.items():
        for context, variables in contexts.items():
            cases.append({"name": f"{family} {context}", "template": family, "variables": context, **run(template, dict(variables))})
    out = {"variables": {"values": VALUES, **contexts}, "templates": FAMILIES, "cases": cases}
    path = Path(__file__).resolve().parent / "templates.json"
    path.write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(len(cases), "cases,", sum("error" in c for c in cases), "of them errors")


if __name__ == "__main__":
    main()
