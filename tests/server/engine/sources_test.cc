#include "server/engine/sources.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/engine_fixture.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;
using Sources = std::vector<std::vector<engine::Source>>;

engine::SequenceText TextFrom(int64_t first, const std::string& text) {
  static const auto bytes = model::MakeByteTokenizer(256);
  engine::SequenceText sequence(bytes.get(), first);
  for (const char byte : text) sequence.Add({{static_cast<unsigned char>(byte)}});
  return sequence;
}

TEST(SequenceTextTest, ShowsWholeCharacters) {
  const engine::SequenceText text = TextFrom(0, "ab\u00e9d\u4f60f");
  engine::Source source{.begin = 3, .end = 7};
  text.Describe(source);
  EXPECT_EQ(source.text, "d") << "half of a letter before it, and a part of one behind it";
  ASSERT_TRUE(source.bytes.has_value());
  EXPECT_EQ(source.bytes->begin, 4U);
  EXPECT_EQ(source.bytes->end, 5U);
}

TEST(SequenceTextTest, SaysNothingOfTokensThatItDoesNotKnow) {
  const engine::SequenceText text = TextFrom(100, "abcdefgh");
  engine::Source before{.begin = 99, .end = 103};
  text.Describe(before);
  EXPECT_EQ(before.text, "");
  engine::Source known{.begin = 102, .end = 104};
  text.Describe(known);
  EXPECT_EQ(known.text, "cd");
  EXPECT_FALSE(known.bytes.has_value()) << "where the text begins is not known";
}

std::unique_ptr<engine::Engine> MakeOpening() {
  return MakeEngine({.num_slots = 4, .max_queue = 20, .step_tokens = 37}, OpeningConfig());
}

engine::GenerateRequest Asking(int32_t sources, int64_t max_tokens = 20) {
  engine::GenerateRequest request = Prompt(150, max_tokens, 7);
  request.sources = sources;
  return request;
}

TEST(SourcesTest, AreWhatEachTokenRead) {
  const auto engine = MakeOpening();
  const engine::GenerateRequest request = Asking(2);
  const auto sink = Complete(*engine, request);
  ASSERT_TRUE(sink->status.ok()) << sink->status;
  ASSERT_EQ(sink->sources.size(), sink->tokens.size());
  const std::string prompt(request.prompt.begin(), request.prompt.end());
  for (int64_t i = 0; i < std::ssize(sink->sources); ++i) {
    const std::vector<engine::Source>& sources = sink->sources[i];
    ASSERT_EQ(sources.size(), 2U) << "of the three opened by each of several heads";
    EXPECT_GE(sources[0].share, sources[1].share);
    for (const engine::Source& source : sources) {
      EXPECT_GT(source.share, 0);
      EXPECT_EQ(source.begin % 4, 0);
      EXPECT_EQ(source.end, source.begin + 4);
      EXPECT_LE(source.end, (150 + i) / 8 * 8) << "left the near field";
      if (source.end > 150) continue;
      ASSERT_TRUE(source.bytes.has_value());
      const ByteRange& bytes = *source.bytes;
      const std::string there = prompt.substr(bytes.begin, bytes.end - bytes.begin);
      EXPECT_EQ(source.text, ReplaceInvalidUtf8(there));
    }
  }
  const auto all = Complete(*engine, Asking(engine::kMaxSources));
  for (const std::vector<engine::Source>& sources : all->sources) {
    float sum = 0;
    for (const engine::Source& source : sources) sum += source.share;
    EXPECT_GT(sources.size(), 2U);
    EXPECT_LT(sum, 1);
  }
  EXPECT_EQ(all->tokens, sink->tokens);
}

void ExpectEqual(const Sources& found, const Sources& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].size(), expected[i].size()) << i;
    for (size_t j = 0; j < found[i].size(); ++j) {
      EXPECT_EQ(found[i][j].begin, expected[i][j].begin) << i;
      EXPECT_EQ(found[i][j].share, expected[i][j].share) << i;
      EXPECT_EQ(found[i][j].text, expected[i][j].text) << i;
    }
  }
}

TEST(SourcesTest, AreTheSameFromAState) {
  const auto engine = MakeOpening();
  engine::GenerateRequest whole = Asking(3);
  whole.keep_state = true;
  whole.marks = {100};
  const auto sink = Complete(*engine, whole);
  ASSERT_FALSE(sink->states.empty());
  engine::GenerateRequest rest = Asking(3);
  rest.state = sink->states.front();
  rest.earlier.assign(whole.prompt.begin(), whole.prompt.begin() + rest.state.tokens());
  rest.prompt.erase(rest.prompt.begin(), rest.prompt.begin() + rest.state.tokens());
  ExpectEqual(Complete(*engine, rest)->sources, sink->sources);
}

TEST(SourcesTest, AreNotLookedForUnlessAskedFor) {
  const auto engine = MakeOpening();
  EXPECT_TRUE(Complete(*engine, Asking(0))->sources.empty());
}

TEST(SourcesTest, AreRefusedWhereThereCanBeNone) {
  const auto refusal = [](engine::Engine& engine, engine::GenerateRequest request) {
    const auto sink = std::make_shared<RecordingGenerateSink>();
    return std::string(engine.Submit(std::move(request), sink).status().message());
  };
  const auto opening = MakeOpening();
  EXPECT_THAT(refusal(*opening, Asking(101)), HasSubstr("sources is 101; allowed: 0 to 100"));
  engine::GenerateRequest constant = Asking(1);
  constant.no_archive = true;
  EXPECT_THAT(refusal(*opening, constant), HasSubstr("sources is 1; allowed: 0 with no_archive"));
  const auto closed = MakeEngine({.num_slots = 1});
  EXPECT_THAT(refusal(*closed, Asking(1)),
              HasSubstr("sources is 1; allowed: 0, because this model opens no units"));
}

}  // namespace
}  // namespace fmaserver::testing
