#include "model_loader/tokenizer_json/pattern.h"

#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "gtest/gtest.h"
#include "model_loader/tokenizer_json/pattern_syntax.h"
#include "tests/support/status_matchers.h"

namespace fmaserver::model {
namespace {

using testing::ExpectRefusal;

std::vector<std::string> Matches(const absl::StatusOr<Pattern>& pattern, std::string_view text) {
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  const MatchMemory memory;
  std::vector<std::string> matches;
  for (size_t from = 0; pattern.ok() && from <= text.size();) {
    const auto match = pattern->Find(text, from, memory);
    EXPECT_TRUE(match.ok()) << match.status();
    if (!match.ok() || !match->has_value()) break;
    matches.emplace_back(text.substr((*match)->begin, (*match)->end - (*match)->begin));
    from = (*match)->end;
  }
  return matches;
}

std::vector<std::string> Matches(std::string_view expression, std::string_view text) {
  return Matches(Pattern::Compile(expression, "t"), text);
}

using Texts = std::vector<std::string>;

TEST(PatternTest, MatchesAsTheOriginalDoes) {
  EXPECT_EQ(Matches(R"( ?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+)", "Ab c\u00e9 12345   x"),
            Texts({"Ab", " c\u00e9", " ", "123", "45", "  ", " x"}));
  EXPECT_EQ(Matches(R"((?i:'s|'ll))", "'S 'LL '\u017f 'x"), Texts({"'S", "'LL", "'\u017f"}));
  EXPECT_EQ(Matches(R"(a++|[^\S\n]+)", "aa \n\t"), Texts({"aa", " ", "\t"}));
  EXPECT_EQ(Matches(R"([\[\]&\-.^x-z]+)", "[a-]&.^y"), Texts({"[", "-]&.^y"}));
  EXPECT_EQ(Matches(R"([a-]|[-b])", "-c-"), Texts({"-", "-"}));
  EXPECT_EQ(Matches(R"(\x41|\x{1F600}|\u00e9)", "aA\u00e9\U0001F600"),
            Texts({"A", "\u00e9", "\U0001F600"}));
  EXPECT_EQ(Matches("[\u4e00-\u9fa5]+", "x\u4f60\u597dy"), Texts({"\u4f60\u597d"}));
}

TEST(PatternTest, WhiteSpaceIsThatOfUnicode) {
  // PCRE2's own \s takes U+180E, and without Unicode misses U+0085.
  EXPECT_EQ(Matches(R"(\s)", "\u180e\u200b\ufeff"), Texts());
  EXPECT_EQ(Matches(R"(\s)", "\u0085\u00a0\u3000\v"), Texts({"\u0085", "\u00a0", "\u3000", "\v"}));
}

TEST(PatternTest, TheEndsOfLinesAreMeant) {
  EXPECT_EQ(Matches(R"(^a|b$)", "a\na b\nb"), Texts({"a", "a", "b", "b"}));
}

TEST(PatternTest, ScriptsAreNotTheirExtensions) {
  // U+30FC is used in two scripts, and belongs to neither.
  EXPECT_EQ(Matches(R"(\p{Hiragana}+)", "\u306e\u30fc"), Texts({"\u306e"}));
  EXPECT_EQ(Matches(R"([^\p{^Han}]+)", "a\u4f60"), Texts({"\u4f60"}));
}

TEST(PatternTest, ExactlyTakesEveryCharacterAsItIs) {
  EXPECT_EQ(Matches(Pattern::Exactly("a.*[", "t"), "a.*[ aa[ a.*["), Texts({"a.*[", "a.*["}));
  ExpectRefusal(Pattern::Exactly("", "t").status(), {"t", "not empty"});
}

TEST(PatternTest, AWordMayBeAsLongAsTheText) {
  const std::string text(1 << 22, 'x');
  EXPECT_EQ(Matches(R"([^\r\n\p{L}\p{N}]?\p{L}+)", text), Texts({text}));
}

TEST(PatternTest, AnExpressionThatNeverEndsIsStopped) {
  const auto pattern = Pattern::Compile(R"((?:a|aa|a(?:a|aa))+b)", "t");
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  const auto match = pattern->Find(Concat(std::string(200, 'a'), "cb"), 0, MatchMemory());
  EXPECT_EQ(match.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(match.status().message()), ::testing::HasSubstr("too hard to cut"));
}

struct BadExpression {
  const char* name;
  const char* expression;
  std::vector<std::string> message;
};

class BadExpressionTest : public ::testing::TestWithParam<BadExpression> {};

TEST_P(BadExpressionTest, IsRefused) {
  std::vector<std::string> parts = GetParam().message;
  parts.emplace_back("t: regular expression");
  ExpectRefusal(Pattern::Compile(GetParam().expression, "t").status(), parts);
}

// What Oniguruma reads in another way than PCRE2, or only one of them knows.
INSTANTIATE_TEST_SUITE_P(Table, BadExpressionTest,
                         ::testing::ValuesIn(std::vector<BadExpression>{
                             {"Word", R"(a\w)", {"at byte 2", "\\w", "\\s"}},
                             {"Boundary", R"(\b)", {"\\b"}},
                             {"Hexadecimal", R"(\h)", {"\\h"}},
                             {"Reference", R"((a)\1)", {"\\1"}},
                             {"End", R"(a\)", {"\\"}},
                             {"Flags", R"((?i)a)", {"(?", "another kind"}},
                             {"Named", R"((?<x>a))", {"(?", "another kind"}},
                             {"Recursion", R"((?R))", {"(?"}},
                             {"Verb", R"((*ACCEPT)a)", {"a"}},
                             {"PossessiveBounds", R"(a{1,3}+)", {"+", "greedy"}},
                             {"LazyBounds", R"(a{3}?)", {"?", "greedy"}},
                             {"Brace", R"(a{x})", {"{"}},
                             {"OpenBrace", R"(a{,3})", {"{"}},
                             {"ClassEnd", R"([a)", {"its end", "]"}},
                             {"EmptyClass", R"([]a])", {"]"}},
                             {"NestedClass", R"([a[bc]])", {"[", "without sets inside"}},
                             {"Intersection", R"([a&&b])", {"&"}},
                             {"SetRange", R"([\s-x])", {"between characters"}},
                             {"DoubleRange", R"([a-c-e])", {"-"}},
                             {"Property", R"(\pL)", {"\\p", "braces"}},
                             {"PropertyName", R"(\p{L_})", {"\\p{L_}"}},
                             {"Script", R"(\p{Nowhere})", {"PCRE2"}},
                             {"Code", R"(\x4)", {"\\x", "\\xHH"}},
                             {"Repeat", R"(+a)", {"quantifier"}},
                             {"Closing", R"(a))", {"parenthesis"}},
                         }),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PatternTest, RefusesEndlessExpressions) {
  ExpectRefusal(Pattern::Compile(std::string(20'000, 'a'), "t").status(), {"20000 bytes", "16384"});
}

}  // namespace
}  // namespace fmaserver::model
