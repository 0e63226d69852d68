// The parts of conversations that need no server: scripts of faults, kept answers, the report.
#include "bench/load/conversations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/load/answers.h"
#include "bench/load/conversations_report.h"
#include "bench/load/faults.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::bench {
namespace {

using fmaserver::testing::ReadFile;
using fmaserver::testing::TempFolder;
using fmaserver::testing::WriteFile;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Faults, AreLinesOfATimeAndACommand) {
  const auto faults = ParseFaults(
      "# a comment\n\n  7.5\tkill -9 12  # of the shell\n2 echo a b\n2 true\r\n", "script");
  ASSERT_TRUE(faults.ok()) << faults.status();
  ASSERT_EQ(faults->size(), 3U);
  EXPECT_EQ((*faults)[0].seconds, 2);
  EXPECT_EQ((*faults)[0].command, "echo a b");
  EXPECT_EQ((*faults)[1].command, "true") << "those of one time stay in their order";
  EXPECT_EQ((*faults)[2].seconds, 7.5);
  EXPECT_EQ((*faults)[2].command, "kill -9 12  # of the shell");
  EXPECT_TRUE(ParseFaults("", "script")->empty());
}

TEST(Faults, ThatAreNoneAreRefusedWithTheirLine) {
  for (const char* wrong :
       {"kill -9 12", "-1 true", "nan true", "inf true", "1e9 true", "5", "5s true", "5  "}) {
    const auto faults = ParseFaults(std::string("1 true\n") + wrong, "script");
    EXPECT_THAT(std::string(faults.status().message()),
                AllOf(HasSubstr("script, line 2: "), HasSubstr("allowed")))
        << wrong;
  }
}

class FaultRunnerTest : public ::testing::Test {
 protected:
  std::string File(const std::string& name) const { return (folder_.path() / name).string(); }
  static bool Eventually(const std::function<bool()>& condition) {
    const double end = NowSeconds() + 60;
    CallGroup sleep;
    while (!condition() && NowSeconds() < end) sleep.SleepUntil(NowSeconds() + 0.005);
    return condition();
  }

  TempFolder folder_;
};

TEST_F(FaultRunnerTest, EachRunsAtItsTimeWhateverTheOthersDo) {
  const double begin = NowSeconds();
  FaultRunner runner({{0, "trap 'echo ended >" + File("ended") + "; exit 0' TERM; echo >" +
                              File("waits") + "; while :; do sleep 0.01; done"},
                      {0.05, "! read line && echo done >" + File("done")},
                      {1e6, "true"}},
                     begin);
  ASSERT_TRUE(Eventually(
      [&] { return ReadFile(File("done")) == "done\n" && !ReadFile(File("waits")).empty(); }));
  const std::vector<FaultOutcome>& outcomes = runner.Stop();
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_FALSE(outcomes[0].exit_code.has_value()) << "it ran on";
  EXPECT_FALSE(outcomes[0].Failed());
  EXPECT_TRUE(Eventually([&] { return ReadFile(File("ended")) == "ended\n"; }))
      << "what runs on is ended";
  EXPECT_GE(*outcomes[1].begin, begin + 0.05);
  EXPECT_FALSE(outcomes[2].begin.has_value());
  EXPECT_TRUE(outcomes[2].Failed()) << "a fault that never came";
}

TEST_F(FaultRunnerTest, TellsHowEachEnded) {
  FaultRunner runner({{0, "echo $$ >" + File("a") + "; exit 3"},
                      {0, "echo $$ >" + File("b") + "; kill -9 $$"},
                      {0, "echo $$ >" + File("c")}},
                     NowSeconds());
  for (const char* name : {"a", "b", "c"}) {
    // It has ended, and nobody has asked how.
    ASSERT_TRUE(Eventually([&] {
      const std::string process = ReadFile(File(name));
      return process.ends_with('\n') &&
             ReadFile("/proc/" + process.substr(0, process.size() - 1) + "/stat").find(") Z ") !=
                 std::string::npos;
    }));
  }
  const std::vector<FaultOutcome>& outcomes = runner.Stop();
  EXPECT_EQ(outcomes[0].exit_code, 3);
  EXPECT_TRUE(outcomes[0].Failed());
  EXPECT_EQ(outcomes[1].exit_code, 137);
  EXPECT_EQ(outcomes[2].exit_code, 0);
  EXPECT_FALSE(outcomes[2].Failed());
}

TEST(Answers, AreReadAsTheyWereWritten) {
  const TempFolder folder;
  const std::string file = (folder.path() / "answers").string();
  const nlohmann::json options = {{"seed", 1}, {"model", "tiny"}};
  const std::vector<Answers> answers = {{{1, 2}, {}}, {{4294967295}, {0}}};
  ASSERT_TRUE(WriteAnswers(file, options, answers).ok());
  const auto read = ReadAnswers(file, options, 2, 2);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, answers);

  const auto why = [&](const nlohmann::json& wanted, size_t conversations, size_t turns) {
    return std::string(ReadAnswers(file, wanted, conversations, turns).status().message());
  };
  EXPECT_THAT(why({{"seed", 2}}, 2, 2), HasSubstr("options.seed is 1; allowed: 2"));
  EXPECT_THAT(why({{"temperature", 0.5}}, 2, 2), HasSubstr("options.temperature is null"));
  EXPECT_THAT(why(options, 3, 2), HasSubstr("3 arrays of 2 arrays"));
  EXPECT_THAT(why(options, 2, 1), HasSubstr("2 arrays of 1 arrays"));
  for (const char* wrong : {"", "[]", "{}",
                            R"({"options": {"seed": 1, "model": "tiny"},)"
                            R"( "answers": [[[1], [-1]], [[1], [1]]]})"}) {
    ASSERT_TRUE(WriteFile(file, wrong));
    EXPECT_THAT(why(options, 2, 2), HasSubstr(file)) << wrong;
  }
  EXPECT_FALSE(WriteAnswers("/no/such/folder/file", options, answers).ok());
}

FaultOutcome Happened(double begin, int exit_code) {
  FaultOutcome outcome{.fault = {.seconds = begin, .command = "kill -9 1"}};
  outcome.begin = begin;
  outcome.exit_code = exit_code;
  return outcome;
}

ConversationRecord Record(int64_t number, std::vector<TurnRecord> turns) {
  ConversationRecord record;
  record.number = number;
  record.turns = std::move(turns);
  record.answers = {{1, 2, 3}};
  record.end = 100;
  return record;
}

/// Faults at 10 and at 20 of a run from 0 to 100.
ConversationsResult Faulted() {
  ConversationsResult result;
  result.end = 100.5;
  result.faults = {Happened(10, 0), Happened(20, 0)};
  // Pauses of 2 and of 5 s, the latter over the first fault, then one of 1 s.
  result.records.push_back(
      Record(0, {{.begin = 1, .arrivals = {3, 8, 13}, .news = {3, 8, 15}, .end = 15},
                 {.begin = 30, .arrivals = {31}, .news = {31}, .end = 31}}));
  result.records.back().repeats = {
      {.time = 11, .by_token = true, .why = absl::UnavailableError("a")},
      {.time = 12, .by_token = true, .why = absl::UnavailableError("b")}};
  // Lost: nothing came from 25 to the end.
  result.records.push_back(Record(1, {{.begin = 24, .arrivals = {25}, .news = {25}}}));
  result.records.back().repeats = {{.time = 30, .why = absl::AbortedError("c")}};
  result.records.back().status = absl::UnavailableError("gone");
  // Different, and nothing else.
  result.records.push_back(
      Record(2, {{.begin = 12, .arrivals = {12.5}, .news = {12.5}, .end = 13}}));
  result.records.back().difference = {.time = 12.5, .what = "turn 0, token 0: 5 instead of 6"};
  return result;
}

TEST(ConversationsReport, PutsDownToAFaultWhatCameUntilTheNext) {
  const auto report = ConversationsReport::Of(Faulted(), /*interrupted=*/false);
  ASSERT_EQ(report.parts.size(), 3U);
  const auto& [before, first, second] = std::tie(report.parts[0], report.parts[1], report.parts[2]);
  EXPECT_FALSE(before.fault.has_value());
  EXPECT_EQ(before.longest_pause, 5) << "8 to 13 began before the fault";
  EXPECT_EQ(before.longest_pause_until_news, 7);
  EXPECT_EQ(first.longest_pause, 5);
  EXPECT_EQ(first.longest_pause_until_news, 7);
  EXPECT_EQ(first.resumed_by_token, 1) << "a conversation counts once";
  EXPECT_EQ(first.resumed_by_session, 0);
  EXPECT_EQ(first.different, 1);
  EXPECT_EQ(first.lost, 0);
  EXPECT_EQ(second.longest_pause, 75) << "until it was lost";
  EXPECT_EQ(second.resumed_by_session, 1);
  EXPECT_EQ(second.lost, 1);
  EXPECT_EQ(second.different, 0);

  EXPECT_EQ(report.undisturbed, 1);
  EXPECT_EQ(report.resumed, 1);
  EXPECT_EQ(report.lost, 1);
  EXPECT_EQ(report.different, 1);
  EXPECT_EQ(report.generated_tokens, 9U);
  EXPECT_EQ(report.time_to_first_token.count, 4U);
  EXPECT_EQ(report.repeated.by_code.at("UNAVAILABLE").count, 2);
  EXPECT_THAT(report.problems, ElementsAre("conversation 1: lost: UNAVAILABLE: gone",
                                           "conversation 2: turn 0, token 0: 5 instead of 6"));
  EXPECT_FALSE(report.Good());

  const nlohmann::json json = ToJson(report, {}, {});
  EXPECT_EQ(json["faults"][1]["lost"], 1);
  EXPECT_EQ(json["faults"][0]["longest_pause_seconds"], 5);
  EXPECT_EQ(json["before_faults"]["lost"], 0);
  EXPECT_EQ(json["conversations"]["different"], 1);
  EXPECT_THAT(ToText(report, {}, {}), AllOf(HasSubstr("1 lost, 1 different"), HasSubstr("75.00 s"),
                                            HasSubstr("5 instead of 6")));
}

TEST(ConversationsReport, IsGoodOnlyWithoutAnythingLostDifferentOrFailed) {
  ConversationsResult result = Faulted();
  result.records.resize(1);
  EXPECT_TRUE(ConversationsReport::Of(result, false).Good());
  result.faults[1].exit_code = 2;
  EXPECT_FALSE(ConversationsReport::Of(result, false).Good());
  result.faults[1].exit_code.reset();
  EXPECT_TRUE(ConversationsReport::Of(result, false).Good()) << "a server that runs on";
  result.faults[1].begin.reset();
  EXPECT_FALSE(ConversationsReport::Of(result, false).Good()) << "a fault after the end";
  result.faults.clear();
  result.records[0].status = absl::CancelledError("interrupted");
  const auto interrupted = ConversationsReport::Of(result, /*interrupted=*/true);
  EXPECT_EQ(interrupted.interrupted, 1);
  EXPECT_EQ(interrupted.lost, 0);
}

}  // namespace
}  // namespace fmaserver::bench
