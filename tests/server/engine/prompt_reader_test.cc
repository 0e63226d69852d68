// Which tokens of a prompt come next, and what is reported about them.
#include "server/engine/prompt_reader.h"

#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fmaserver::testing {
namespace {

using engine::PromptReader;

constexpr int64_t kFar = std::numeric_limits<int64_t>::max();
constexpr int64_t kVocab = 50;

/// Tokens 0, 1, 2, ...
engine::GenerateRequest Request(int length) {
  engine::GenerateRequest request;
  request.prompt.resize(length);
  std::iota(request.prompt.begin(), request.prompt.end(), 0);
  return request;
}

std::vector<int32_t> TokensOf(const std::vector<engine::TokenScore>& scores) {
  std::vector<int32_t> tokens;
  for (const engine::TokenScore& score : scores) tokens.push_back(score.token);
  return tokens;
}

/// Reads everything in random slices; returns the reported tokens in order.
std::vector<engine::TokenScore> ReadAll(const PromptReader& reader, int64_t start,
                                        std::mt19937& random) {
  std::vector<engine::TokenScore> told = reader.Report(start, start, {});
  for (int64_t position = start; reader.Left(position) > 0;) {
    const auto rows = static_cast<int64_t>(1 + random() % reader.Left(position));
    const std::vector<float> logits(reader.Scores(position) ? rows * kVocab : 0);
    const auto part = reader.Report(position, position + rows, logits);
    told.insert(told.end(), part.begin(), part.end());
    position += rows;
  }
  return told;
}

TEST(PromptReader, ReadsUpToTheEndOfTheSliceOrOfThePrompt) {
  const engine::GenerateRequest request = Request(10);
  const PromptReader reader(request, 100, true);
  EXPECT_EQ(reader.Left(100), 10);
  EXPECT_EQ(reader.Next(100, kFar).size(), 10U);
  EXPECT_EQ(reader.Next(104, 107).size(), 3U);
  EXPECT_EQ(reader.Next(104, 107).front(), 4);
  EXPECT_EQ(reader.Left(109), 1);
  EXPECT_FALSE(reader.Done(109));
  EXPECT_TRUE(reader.Done(110));
}

TEST(PromptReader, LeavesTheLastTokenWhenNothingIsToBeChosen) {
  engine::GenerateRequest request = Request(10);
  request.max_tokens = 0;
  const PromptReader reader(request, 0, true);
  EXPECT_EQ(reader.Left(0), 9);
  EXPECT_EQ(reader.Next(0, kFar).size(), 9U);
  EXPECT_EQ(reader.LogitsWanted(0, 9), 0);
}

TEST(PromptReader, NeedsTheLastRowsLogitsOnlyUnlessItScores) {
  engine::GenerateRequest request = Request(10);
  const PromptReader plain(request, 0, true);
  EXPECT_EQ(plain.LogitsWanted(0, 9), 0);
  EXPECT_EQ(plain.LogitsWanted(0, 10), 1);
  EXPECT_FALSE(plain.Scores(0));
  request.prompt_logprobs = 0;
  const PromptReader scoring(request, 0, true);
  EXPECT_EQ(scoring.LogitsWanted(0, 9), 9);
  EXPECT_TRUE(scoring.Scores(9));
  EXPECT_FALSE(scoring.Scores(10)) << "what is chosen is no part of the prompt";
  EXPECT_EQ(scoring.LogitsWanted(10, 1), 1);
}

TEST(PromptReader, TellsEveryTokenOnceHoweverItIsCut) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    const int length = 1 + static_cast<int>(random() % 20);
    engine::GenerateRequest request = Request(length);
    request.pending = static_cast<int64_t>(random() % (length + 1));
    request.max_tokens = static_cast<int64_t>(random() % 2);
    if (round % 2 == 0) request.echo = true;
    if (round % 3 == 0) request.prompt_logprobs = 2;
    const auto start = static_cast<int64_t>(random() % 5);
    const auto told = TokensOf(ReadAll(PromptReader(request, start, true), start, random));
    if (!request.echo && !request.prompt_logprobs) {
      EXPECT_TRUE(told.empty());
    } else if (length > 1 || request.max_tokens > 0) {
      EXPECT_EQ(told, (std::vector<int32_t>(request.prompt.begin() + request.pending,
                                            request.prompt.end())))
          << "all but what belongs to an earlier turn";
    }
    EXPECT_TRUE(ReadAll(PromptReader(request, start, false), start, random).empty());
  }
}

TEST(PromptReader, OnlyTheVeryFirstTokenHasNoScore) {
  std::mt19937 random(1);
  engine::GenerateRequest request = Request(8);
  request.prompt_logprobs = 2;
  const auto told = ReadAll(PromptReader(request, 0, true), 0, random);
  ASSERT_EQ(told.size(), 8U);
  EXPECT_FALSE(told[0].logprob.has_value());
  for (size_t i = 1; i < 8; ++i) {
    EXPECT_NEAR(*told[i].logprob, -std::log(static_cast<float>(kVocab)), 1e-5);
    EXPECT_EQ(told[i].top.size(), 2U);
  }
}

}  // namespace
}  // namespace fmaserver::testing
