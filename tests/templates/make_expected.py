"""What `transformers` makes of the templates and conversations beside this file.

Writes expected.json: for each template and conversation the text without and with a generation
prompt (or the error that the template raises), and for templates with generation blocks the parts
that they mark. The clock stands still on 26 July 2024, as it does in kdx.

    pip install transformers jinja2 && python make_expected.py
"""
import datetime, json, pathlib
from transformers.utils import chat_template_utils as chat

here = pathlib.Path(__file__).parent
now = datetime.datetime(2024, 7, 26)
conversations = json.loads((here / "conversations.json").read_text())
tokens = {"bos_token": "<s>", "eos_token": "</s>"}


def render(template, messages, prompt):
    try:
        return template.render(messages=messages, tools=None, documents=None, add_generation_prompt=prompt,
                               strftime_now=lambda format: now.strftime(format), **tokens)
    except Exception as error:
        return {"error": str(error)}


expected = {}
for path in sorted(here.glob("*.jinja")):
    source = path.read_text()
    template = chat._compile_jinja_template(source)
    expected[path.stem] = {}
    for name, messages in conversations.items():
        case = {"text": render(template, messages, False), "prompt": render(template, messages, True)}
        if "generation" in path.stem:
            rendered, spans = chat.render_jinja_template([messages], chat_template=source,
                                                         return_assistant_tokens_mask=True, **tokens)
            case["marked"] = [rendered[0][start:end] for start, end in spans[0]]
        expected[path.stem][name] = case
(here / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
