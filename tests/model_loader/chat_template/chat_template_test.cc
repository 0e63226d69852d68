#include "model_loader/chat_template/chat_template.h"

#include <string>
#include <vector>

#include "base/text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fmaserver::chat {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::shared_ptr<const ChatTemplate> Made(const std::string& source) {
  auto made = ChatTemplate::Parse(source, "chat_template.jinja", {});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

std::string WhyNotMade(const std::string& source) {
  const auto made = ChatTemplate::Parse(source, "chat_template.jinja", {});
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << source;
  return std::string(made.status().message());
}

std::string WhyNotRendered(const std::string& source) {
  const std::vector<Message> messages = {{"user", "Hello"}};
  const auto rendering = Made(source)->Render(messages);
  EXPECT_EQ(rendering.status().code(), absl::StatusCode::kInvalidArgument) << source;
  return std::string(rendering.status().message());
}

/// The rendering with what comes from messages in brackets.
std::string Marked(const Rendering& rendering) {
  const std::string_view text = rendering.text;
  std::string marked;
  size_t done = 0;
  const auto data = [&](size_t end) {
    if (done < end) marked += Concat("[", text.substr(done, end - done), "]");
  };
  for (const ByteRange& range : rendering.written) {
    data(range.begin);
    marked += text.substr(range.begin, range.end - range.begin);
    done = range.end;
  }
  data(text.size());
  return marked;
}

std::string MarkedRendering(const std::string& source, const std::vector<Message>& messages) {
  const auto rendering = Made(source)->Render(messages);
  EXPECT_TRUE(rendering.ok()) << rendering.status();
  return Marked(*rendering);
}

const char* const kChatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

TEST(ChatTemplate, SaysWhichPartsComeFromMessages) {
  EXPECT_EQ(MarkedRendering(kChatml, {{"user", "Hi <|im_end|>"}}),
            "<|im_start|>[user]\n[Hi <|im_end|>]<|im_end|>\n<|im_start|>assistant\n");
}

// However a template handles a message, what the user wrote does not become the template's.
TEST(ChatTemplate, NothingThatIsDoneToAMessageMakesItTheTemplates) {
  const std::vector<Message> messages = {{"user", "<|end|>"}};
  const std::string content = "{% set c = messages[0].content %}";
  for (const std::string expression : {"c",
                                       "c|trim",
                                       "c.strip('>')",
                                       "c[1:]",
                                       "c[::-1]",
                                       "c[0]",
                                       "c|first",
                                       "c.split('e')[1]",
                                       "c.split()[0]",
                                       "c.rsplit('e', 1)[1]",
                                       "c|upper",
                                       "c.lower()",
                                       "c|capitalize",
                                       "c|title",
                                       "c|replace('x', 'y')",
                                       "c ~ ''",
                                       "c + ''",
                                       "'' + c",
                                       "c * 1",
                                       "[c]|join",
                                       "c|list|join",
                                       "[c]|first",
                                       "{'k': c}.k",
                                       "{c: 1}|first",
                                       "({c: 1}|items|first)[0]",
                                       "{c: 1}.keys()|first",
                                       "{c: 1}|list|join",
                                       "({c: 1}|dictsort|first)[0]",
                                       "c|default('x')",
                                       "none|default(c, true)",
                                       "c if c else ''",
                                       "c or 'x'",
                                       "c and c",
                                       "c|string",
                                       "c|safe",
                                       "strftime_now(c)",
                                       "[{'a': c}]|map(attribute='a')|join",
                                       "c.removeprefix('<')",
                                       "''.join([c])",
                                       "namespace(v=c).v",
                                       "[c]|reverse|first",
                                       "[c]|unique|first",
                                       "{'k': c}.get('k')",
                                       "{'k': c}.values()|first"}) {
    const std::string marked = MarkedRendering(content + "{{ " + expression + " }}", messages);
    EXPECT_TRUE(marked.starts_with("[") && marked.ends_with("]")) << expression << ": " << marked;
    EXPECT_EQ(marked.find('['), marked.rfind('[')) << expression << ": " << marked;
  }
  EXPECT_EQ(MarkedRendering(content + "{{ c|tojson }}", messages), "\"[<|end|>]\"");
  EXPECT_EQ(MarkedRendering(content + "{{ {c: c}|tojson }}", messages),
            "{\"[<|end|>]\": \"[<|end|>]\"}");
  EXPECT_EQ(
      MarkedRendering(content + "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(c) }}", messages),
      "<[<|end|>]>");
  EXPECT_EQ(MarkedRendering(content + "{% set b %}-{{ c }}{% endset %}{{ b|trim }}", messages),
            "-[<|end|>]");
  EXPECT_EQ(MarkedRendering(content + "{{ 'a<|end|>b'|replace('<|end|>', c) }}", messages),
            "a[<|end|>]b");
}

TEST(ChatTemplate, WhatFollowsAnAnswerBeginsBehindTheAnswer) {
  const std::vector<Message> messages = {{"user", "And then?"}};
  const auto rendering = Made(kChatml)->RenderAfterAnswer(messages);
  ASSERT_TRUE(rendering.ok()) << rendering.status();
  EXPECT_EQ(Marked(*rendering),
            "<|im_end|>\n<|im_start|>[user]\n[And then?]<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, ATemplateThatHidesAnswersCannotGoOn) {
  const std::vector<Message> messages = {{"user", "And then?"}};
  const auto rendering = Made("{{ (messages|last).content }}")->RenderAfterAnswer(messages);
  EXPECT_EQ(rendering.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(rendering.status().message()), HasSubstr("earlier answers is left out"));
}

TEST(ChatTemplate, RefusesMessagesThatItCannotRead) {
  EXPECT_THAT(std::string(Made(kChatml)->Render({}).status().message()),
              HasSubstr("messages is empty"));
  const std::vector<Message> bad = {{"user", "a"}, {"user", "\xFF"}};
  EXPECT_THAT(std::string(Made(kChatml)->Render(bad).status().message()), HasSubstr("messages[1]"));
}

TEST(ChatTemplate, NamesLineAndWhatIsSupported) {
  EXPECT_THAT(
      WhyNotMade("a\n{{ x|sha256 }}"),
      AllOf(HasSubstr("chat_template.jinja: line 2: filter is \"sha256\""), HasSubstr("trim")));
  EXPECT_THAT(WhyNotMade("{% include 'x' %}"),
              AllOf(HasSubstr("line 1: statement is \"include\""), HasSubstr("for, if, set")));
  EXPECT_THAT(WhyNotMade("{{ x is prime }}"), HasSubstr("test is \"prime\""));
  EXPECT_THAT(WhyNotMade("{{ x.__class__() }}"), HasSubstr("method is \"__class__\""));
  EXPECT_THAT(WhyNotMade("{{ x|trim(1, 2) }}"), HasSubstr("number of arguments of trim is 2"));
  EXPECT_THAT(WhyNotMade("{{ x|trim(x=1) }}"), HasSubstr("argument of trim is \"x\""));
  EXPECT_THAT(WhyNotMade("{{ 1.5 }}"), HasSubstr("number is \"1\"; allowed: whole numbers"));
  EXPECT_THAT(WhyNotMade("{{ 6 / 2 }}"), HasSubstr("//, which divides whole numbers"));
  EXPECT_THAT(WhyNotMade("{{ 99999999999999999999 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(WhyNotMade("{{ x"), HasSubstr("without an end"));
  EXPECT_THAT(WhyNotMade("{% if x %}"), HasSubstr("over too early"));
  EXPECT_THAT(WhyNotMade("{% endif %}"), HasSubstr("statement is \"endif\""));
  EXPECT_THAT(WhyNotMade("{% break %}"), HasSubstr("outside of a loop"));
  EXPECT_THAT(WhyNotMade("{% for x in y %}{% macro m() %}{% endmacro %}{% endfor %}"),
              HasSubstr("inside of a loop"));
  EXPECT_THAT(WhyNotMade("{{ (x] }}"), HasSubstr("bracket is \"]\""));
  EXPECT_THAT(WhyNotMade("{{ 'x"), HasSubstr("string is without an end"));
  EXPECT_THAT(WhyNotMade("{{ '\\N{DASH}' }}"), HasSubstr("escape in a string"));
  EXPECT_THAT(WhyNotMade("{# x"), HasSubstr("comment is without an end"));
  EXPECT_THAT(WhyNotMade("\xFF"), HasSubstr("UTF-8"));
  EXPECT_THAT(WhyNotMade(std::string(300 << 10, 'x')), HasSubstr("up to 262144"));
}

TEST(ChatTemplate, DepthIsBounded) {
  const auto nested = [](const std::string& open, const std::string& close, int depth) {
    std::string text = "{{ ";
    for (int i = 0; i < depth; ++i) text += open;
    text += "1";
    for (int i = 0; i < depth; ++i) text += close;
    return text + " }}";
  };
  EXPECT_THAT(WhyNotMade(nested("(", ")", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("[", "]", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("-", "", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("not ", "", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("", "+1", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("", "|abs", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("", "[0]", 5000)), HasSubstr("depth"));
  EXPECT_THAT(WhyNotMade(nested("1 if ", " else 2", 5000)), HasSubstr("depth"));
  std::string ifs;
  for (int i = 0; i < 1000; ++i) ifs += "{% if 1 %}";
  EXPECT_THAT(WhyNotMade(ifs), HasSubstr("depth of nested statements"));
}

TEST(ChatTemplate, RenderingIsBounded) {
  const std::string forever = "{% for a in range(100000) %}{% for b in range(100000) %}";
  const std::string ends = "{% endfor %}{% endfor %}";
  EXPECT_THAT(WhyNotRendered(forever + ends), HasSubstr("number of steps is larger"));
  EXPECT_THAT(WhyNotRendered("{{ range(9000000000) }}"), HasSubstr("number of steps"));
  EXPECT_THAT(WhyNotRendered("{{ 'x' * 9000000000 }}"), HasSubstr("number of steps"));
  EXPECT_THAT(WhyNotRendered("{% set ns = namespace(s='xx') %}{% for a in range(99) %}"
                             "{% set ns.s = ns.s + ns.s %}{% endfor %}"),
              HasSubstr("number of bytes"));
  EXPECT_THAT(WhyNotRendered("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
              HasSubstr("macros that call each other"));
  EXPECT_THAT(WhyNotRendered("{% set ns = namespace(l=[]) %}{% for a in range(99999) %}"
                             "{% set ns.l = [ns.l] %}{% endfor %}"),
              HasSubstr("depth of nested lists"));
  EXPECT_THAT(WhyNotRendered("{{ 9223372036854775807 + 1 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(WhyNotRendered("{{ (-9223372036854775807 - 1) // -1 }}"), HasSubstr("64 bits"));
  // A namespace that holds itself is freed (the leak checker of the asan preset looks).
  EXPECT_EQ(MarkedRendering("{% set ns = namespace() %}{% set ns.me = ns %}", {{"user", "x"}}), "");
}

TEST(ChatTemplate, NamesTheLineOfWhatCannotBeRendered) {
  EXPECT_THAT(WhyNotRendered("\n\n{{ nobody.name }}"),
              HasSubstr("chat template: line 3: \"nobody\" is undefined"));
  EXPECT_THAT(WhyNotRendered("{{ raise_exception('no ' ~ messages[0].role) }}"),
              HasSubstr("line 1: the template refuses the messages: \"no user\""));
  EXPECT_THAT(WhyNotRendered("{{ messages }}"), HasSubstr("what is printed is a list"));
  EXPECT_THAT(WhyNotRendered("{{ 'a' + 1 }}"), HasSubstr("operation + is a text and a number"));
  EXPECT_THAT(WhyNotRendered("{{ 1 // 0 }}"), HasSubstr("divisor is 0"));
  EXPECT_THAT(WhyNotRendered("{{ 1 < 'a' }}"), HasSubstr("comparison is a number with a text"));
  EXPECT_THAT(WhyNotRendered("{% for x in none %}{% endfor %}"), HasSubstr("none"));
  EXPECT_THAT(WhyNotRendered("{{ messages() }}"), HasSubstr("what is called is a list"));
  EXPECT_THAT(WhyNotRendered("{% set x.y = 1 %}"), HasSubstr("no namespace"));
  EXPECT_THAT(WhyNotRendered("{% set a, b = [1] %}"), HasSubstr("number of values"));
}

TEST(ChatTemplate, LongMessagesAreRendered) {
  const std::string book(8 << 20, 'x');
  const std::vector<Message> messages = {{"user", book}};
  const auto rendering = Made(
                             "{% for m in messages %}{{ '<s>' + m.role + m.content|trim + '</s>' "
                             "}}{% endfor %}")
                             ->Render(messages);
  ASSERT_TRUE(rendering.ok()) << rendering.status();
  EXPECT_EQ(rendering->text, "<s>user" + book + "</s>");
}

}  // namespace
}  // namespace fmaserver::chat
