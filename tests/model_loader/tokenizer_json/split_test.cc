#include "model_loader/tokenizer_json/split.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace fmaserver::model {
namespace {

using Texts = std::vector<std::string>;

Texts Pieces(SplitBehavior behavior, std::string_view text, bool invert = false) {
  const auto pattern = Pattern::Compile("-", "t");
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  Texts pieces;
  const absl::Status status =
      Cut({*pattern, behavior, invert}, text, MatchMemory(), [&pieces](std::string_view piece) {
        pieces.emplace_back(piece);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

// The examples of the original library's documentation.
TEST(SplitTest, MatchesGoWhereTheBehaviorPutsThem) {
  const char* const text = "the-final--countdown";
  EXPECT_EQ(Pieces(SplitBehavior::kRemoved, text), Texts({"the", "final", "countdown"}));
  EXPECT_EQ(Pieces(SplitBehavior::kIsolated, text),
            Texts({"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(Pieces(SplitBehavior::kMergedWithPrevious, text),
            Texts({"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(Pieces(SplitBehavior::kMergedWithNext, text),
            Texts({"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(Pieces(SplitBehavior::kContiguous, text),
            Texts({"the", "-", "final", "--", "countdown"}));
}

TEST(SplitTest, MatchesAtTheEndsAreNeverLost) {
  EXPECT_EQ(Pieces(SplitBehavior::kMergedWithPrevious, "--a-"), Texts({"-", "-", "a-"}));
  EXPECT_EQ(Pieces(SplitBehavior::kMergedWithNext, "-a--"), Texts({"-a", "-", "-"}));
  EXPECT_EQ(Pieces(SplitBehavior::kRemoved, "--"), Texts());
  EXPECT_EQ(Pieces(SplitBehavior::kIsolated, ""), Texts());
}

TEST(SplitTest, InvertedWhatLiesBetweenIsTheMatch) {
  EXPECT_EQ(Pieces(SplitBehavior::kRemoved, "a--b", true), Texts({"-", "-"}));
  EXPECT_EQ(Pieces(SplitBehavior::kMergedWithPrevious, "-a-b", true), Texts({"-a", "-b"}));
}

TEST(SplitTest, AFailureOfTheReaderStopsIt) {
  const auto pattern = Pattern::Compile("-", "t");
  int calls = 0;
  const absl::Status status =
      Cut({*pattern, SplitBehavior::kIsolated}, "a-b", MatchMemory(), [&calls](std::string_view) {
        ++calls;
        return absl::CancelledError("enough");
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace fmaserver::model
