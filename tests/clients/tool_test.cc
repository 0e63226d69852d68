// fma and fma-server as a user runs them: output, messages and exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/clients/process.h"
#include "tests/clients/tool_fixture.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kEndless[] = "100000000";

TEST_F(ToolTest, GenerateKeepsTextAndSummaryApart) {
  const std::vector<std::string> arguments = {"generate", "hi", "-n",    "30",
                                              "--seed",   "3",  "--echo"};
  const Result text = Run(arguments);
  EXPECT_EQ(text.exit_code, 0) << text.errors;
  EXPECT_TRUE(text.output.starts_with("hi"));
  EXPECT_THAT(text.errors, AllOf(HasSubstr("prompt 2 tokens"), HasSubstr("generated 30 tokens"),
                                 HasSubstr("tok/s"), HasSubstr("a full KV cache would hold")));

  std::vector<std::string> as_json = arguments;
  as_json.emplace_back("--json");
  const Result json = Run(as_json);
  EXPECT_EQ(json.exit_code, 0) << json.errors;
  std::string joined;
  for (const nlohmann::json& line : json.Lines()) {
    joined += line.at(line["event"] == "prompt" ? "token" : "text").get<std::string>();
  }
  EXPECT_EQ(text.output, joined) << "standard output holds the text and nothing else";
  EXPECT_EQ(json.errors, "");
  EXPECT_EQ(json.Lines().back()["event"], "finished");
  EXPECT_EQ(json.Lines().back()["usage"]["generated_tokens"], 30);
  EXPECT_EQ(json.Lines().back()["reason"], "length");
}

TEST_F(ToolTest, SamplingOptionsReachTheServer) {
  const Result letters =
      Run({"generate", "--allow-token", "97", "--allow-token", "98", "--ban-token", "98", "hi"});
  EXPECT_EQ(letters.output, std::string(16, 'a')) << letters.errors;
  const auto greedy = [&](const std::string& bias) {
    return Run({"generate", "hi", "--temperature", "0", "--logit-bias", bias}).output;
  };
  EXPECT_EQ(greedy("97=100"), std::string(16, 'a'));
  EXPECT_EQ(greedy("98=100"), std::string(16, 'b'));
  // The engine's tests check what each of these does; this one that it reaches the engine.
  const auto seeded = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", "hi", "-n", "60", "--seed", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments).output;
  };
  const std::string plain = seeded({});
  EXPECT_EQ(seeded({}), plain);
  for (const char* option : {"--presence-penalty", "--frequency-penalty", "--repetition-penalty"}) {
    EXPECT_NE(seeded({option, "2"}), plain) << option;
  }
  const Result narrow = Run({"generate", "hi", "--min-p", "1"});
  EXPECT_EQ(narrow.output, Run({"generate", "hi", "--temperature", "0"}).output);
}

TEST_F(ToolTest, StoppingOptionsReachTheServer) {
  const std::vector<std::string> letters = {
      "generate",      "hi", "--seed",        "5",  "--temperature", "9", "--json",
      "--allow-token", "97", "--allow-token", "98", "--allow-token", "99"};
  const auto with = [&](std::vector<std::string> more, const std::string& max_tokens = "40") {
    more.insert(more.begin(), letters.begin(), letters.end());
    more.insert(more.end(), {"-n", max_tokens});
    return Run(more).Lines();
  };
  const auto text_of = [](const std::vector<nlohmann::json>& lines) {
    std::string text;
    for (const nlohmann::json& line : lines) text += line["text"].get<std::string>();
    return text;
  };
  const std::string whole = text_of(with({}));
  ASSERT_EQ(whole.size(), 40U);
  const std::string stop = whole.substr(10, 3);
  const size_t at = whole.find(stop);

  const auto stopped = with({"--stop", "never", "--stop", stop});
  EXPECT_EQ(text_of(stopped), whole.substr(0, at));
  EXPECT_EQ(stopped.back()["reason"], "stop_sequence");
  EXPECT_EQ(stopped.back()["stop"], stop);
  EXPECT_EQ(text_of(with({"--stop", stop, "--include-stop"})), whole.substr(0, at + 3));

  const auto by_token = with({"--stop-token", "98"});
  EXPECT_EQ(text_of(by_token), whole.substr(0, whole.find('b')));
  EXPECT_EQ(by_token.back()["stop_token_id"], 98);
  EXPECT_GE(text_of(with({"--stop-token", "98", "--min-tokens", "7"})).size(), 7U);

  const auto timed = with({"--time-limit", "0.05"}, kEndless);
  EXPECT_EQ(timed.back()["reason"], "time_limit");

  const auto top = with({"--top-logprobs", "3"});
  EXPECT_EQ(top[0]["top_logprobs"][0].size(), 3U);
  EXPECT_LT(top[0]["top_logprobs"][0][0]["logprob"], 0);
}

TEST_F(ToolTest, SamplesAreThoseOfSingleRuns) {
  const std::vector<std::string> arguments = {
      "generate",      "hi", "-n", "12", "--n", "3", "--seed", "20", "--allow-token", "97",
      "--allow-token", "98"};
  std::string expected;
  for (int i = 0; i < 3; ++i) {
    const Result solo = Run({"generate", "hi", "-n", "12", "--seed", std::to_string(20 + i),
                             "--allow-token", "97", "--allow-token", "98"});
    expected += "--- " + std::to_string(i) + "\n" + solo.output + "\n";
  }
  const Result text = Run(arguments);
  EXPECT_EQ(text.exit_code, 0) << text.errors;
  EXPECT_EQ(text.output, expected);
  EXPECT_THAT(text.errors, HasSubstr("generated 36 tokens"));

  std::vector<std::string> as_json = arguments;
  as_json.emplace_back("--json");
  std::vector<std::string> texts(3);
  int finished = 0;
  for (const nlohmann::json& line : Run(as_json).Lines()) {
    if (line["event"] == "progress") continue;
    texts.at(line.at("index").get<size_t>()) += line.at("text").get<std::string>();
    finished += line["event"] == "finished" ? 1 : 0;
  }
  EXPECT_EQ(finished, 3);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(expected, HasSubstr("\n" + texts[i] + "\n"));
}

TEST_F(ToolTest, PromptIsReturnedWithItsLogProbabilities) {
  const Result echo = Run({"generate", "--token-ids", "[104, 105]", "--echo", "--seed", "3"});
  EXPECT_EQ(echo.output, "hi" + Run({"generate", "hi", "--seed", "3"}).output) << echo.errors;

  const auto scores = Run({"score", "hello", "--top-logprobs", "2", "--json"}).Lines();
  const auto lines = Run({"generate", "hello", "--prompt-logprobs", "2", "--json"}).Lines();
  ASSERT_GT(lines.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(lines[i]["event"], "prompt");
    for (const char* field : {"token_id", "token", "logprob"}) {
      EXPECT_EQ(lines[i][field], scores[i][field]) << i << field;
    }
    EXPECT_EQ(lines[i].contains("top"), i > 0);
  }
}

TEST_F(ToolTest, StateOptionsReachTheServer) {
  EXPECT_EQ(Run({"generate", "hi", "--priority", "-100", "--cache-salt", "x", "--mark", "1",
                 "--mark", "2", "--skip-prefix-cache"})
                .exit_code,
            0);
  EXPECT_THAT(Run({"generate", "hi", "--priority", "101"}).errors, HasSubstr("priority"));
  EXPECT_THAT(Run({"generate", "hi", "--mark", "3"}).errors, HasSubstr("marks"));
  EXPECT_THAT(Run({"generate", "hi", "--cache-salt", std::string(257, 'x')}).errors,
              HasSubstr("cache_salt"));
  EXPECT_THAT(Run({"generate", "hi", "--n", "129"}).errors, HasSubstr("129"));
}

TEST_F(ToolTest, PromptComesFromArgumentFileOrStandardInput) {
  const std::string file = (folder_.path() / "prompt").string();
  ASSERT_TRUE(WriteFile(file, "same"));
  const std::vector<std::string> options = {"--seed", "1"};
  const auto with = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), options.begin(), options.end());
    return arguments;
  };
  const Result argument = Run(with({"generate", "same"}));
  EXPECT_EQ(argument.exit_code, 0) << argument.errors;
  EXPECT_EQ(Run(with({"generate", "--prompt-file", file})).output, argument.output);
  EXPECT_EQ(Run(with({"generate", "--prompt-file", "-"}), "same").output, argument.output);
  EXPECT_EQ(Run(with({"generate"}), "same").output, argument.output);
  EXPECT_EQ(Run(with({"generate", "--token-ids", "[115, 97, 109, 101]"})).output, argument.output);
}

TEST_F(ToolTest, ScoreTokenizeDetokenizeModels) {
  const Result score = Run({"score", "hello", "--json"});
  EXPECT_EQ(score.exit_code, 0) << score.errors;
  ASSERT_EQ(score.Lines().size(), 6U);
  EXPECT_TRUE(score.Lines()[0]["logprob"].is_null());
  EXPECT_LT(score.Lines()[1]["logprob"], 0);
  EXPECT_EQ(score.Lines()[5]["scored_tokens"], 4);
  EXPECT_THAT(Run({"score", "hello"}).output, HasSubstr("scored 4 tokens"));

  const Result tokens = Run({"tokenize", "hé", "--json"});
  EXPECT_EQ(tokens.exit_code, 0) << tokens.errors;
  EXPECT_EQ(tokens.Lines()[0]["token_ids"], nlohmann::json({104, 0xC3, 0xA9}));
  EXPECT_EQ(Run({"detokenize", "104", "195", "169"}).output, "hé");
  EXPECT_EQ(Run({"detokenize"}, "[104, 195, 169]").output, "hé");

  EXPECT_THAT(Run({"models"}).output, AllOf(HasSubstr("tiny"), HasSubstr("sequence cache")));
  EXPECT_EQ(Run({"models", "--json"}).Lines()[0]["name"], "tiny");
}

TEST_F(ToolTest, RefusalsSayWhatIsWrong) {
  const Result temperature = Run({"generate", "hi", "--temperature", "-1"});
  EXPECT_EQ(temperature.exit_code, 3);
  EXPECT_EQ(temperature.output, "");
  EXPECT_THAT(temperature.errors, AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("temperature")));
  EXPECT_THAT(Run({"generate", "--token-ids", "[999]"}).errors, HasSubstr("999"));

  const Result broken = Run({"generate", "a\xff"});
  EXPECT_EQ(broken.exit_code, 3);
  EXPECT_THAT(broken.errors, HasSubstr("UTF-8"));
}

TEST_F(ToolTest, WrongUsageIsExitCode2) {
  EXPECT_EQ(Run({"generate", "hi", "--no-such-option"}).exit_code, 2);
  EXPECT_EQ(Run({"generate", "hi", "--prompt-file", "-"}).exit_code, 2);
  EXPECT_EQ(Run({"generate", "hi", "-n", "many"}).exit_code, 2);
  EXPECT_THAT(Run({"generate", "--token-ids", "[1, -2]"}).errors, HasSubstr("JSON array"));
  for (const char* bias : {"97", "a=1", "97=", "-1=2"}) {
    const Result result = Run({"generate", "hi", "--logit-bias", bias});
    EXPECT_EQ(result.exit_code, 2) << bias;
    EXPECT_THAT(result.errors, HasSubstr("--logit-bias")) << bias;
  }
  const Result no_file = Run({"score", "--prompt-file", "/no/such/file"});
  EXPECT_EQ(no_file.exit_code, 2);
  EXPECT_THAT(no_file.errors, HasSubstr("/no/such/file"));
  EXPECT_EQ(Process({BinFolder() + "/fma"}).Wait(), 2);
  EXPECT_EQ(Process({BinFolder() + "/fma", "generate", "--help"}).Wait(), 0);
}

TEST_F(ToolTest, NoServerIsExitCode4) {
  address_ = "127.0.0.1:1";
  for (const char* command : {"generate", "score", "tokenize"}) {
    const Result result = Run({command, "hi"});
    EXPECT_EQ(result.exit_code, 4);
    EXPECT_THAT(result.errors, AllOf(HasSubstr("127.0.0.1:1"), HasSubstr("fma-server --model")));
  }
}

TEST_F(ToolTest, CtrlCPrintsWhatThereIs) {
  Process tool(Command({"generate", "endless", "-n", kEndless}));
  ASSERT_TRUE(Eventually([&] { return !tool.Output().empty(); }));
  tool.Signal(SIGINT);
  EXPECT_EQ(tool.Wait(), 130);
  EXPECT_THAT(tool.Errors(), HasSubstr("interrupted; generated"));
}

TEST_F(ToolTest, ServerDrainsOnSigterm) {
  Process tool(Command({"generate", "endless", "-n", kEndless}));
  ASSERT_TRUE(Eventually([&] { return !tool.Output().empty(); }));
  server_->process().Signal(SIGTERM);
  EXPECT_EQ(server_->process().Wait(), 0) << server_->process().Output();
  EXPECT_EQ(tool.Wait(), 4);
  EXPECT_THAT(tool.Errors(), HasSubstr("shut down"));
}

TEST_F(ToolTest, HealthTellsServingFromDraining) {
  const Result serving = Run({"health"});
  EXPECT_EQ(serving.exit_code, 0) << serving.errors;
  EXPECT_EQ(serving.output, "SERVING\n");
  EXPECT_EQ(Run({"health", "--json"}).Lines()[0]["status"], "SERVING");

  ServerProcess patient(folder_.path() / "tiny", {"--threads", "1", "--drain-seconds", "600"});
  address_ = patient.address();
  Process tool(Command({"generate", "endless", "-n", kEndless}));
  ASSERT_TRUE(Eventually([&] { return !tool.Output().empty(); }));
  patient.process().Signal(SIGTERM);
  Result draining;
  ASSERT_TRUE(Eventually([&] { return (draining = Run({"health"})).exit_code != 0; }));
  EXPECT_EQ(draining.exit_code, 3);
  EXPECT_EQ(draining.output, "NOT_SERVING\n");
  tool.Signal(SIGINT);
  EXPECT_EQ(patient.process().Wait(), 0);
  EXPECT_EQ(Run({"health"}).exit_code, 4);
}

TEST(ServerToolTest, RefusesToStartWithAReason) {
  Process no_model({BinFolder() + "/fma-server", "--model", "/no/such/folder"});
  EXPECT_EQ(no_model.Wait(), 1);
  EXPECT_THAT(no_model.Output(), HasSubstr("/no/such/folder"));
  Process no_option({BinFolder() + "/fma-server"});
  EXPECT_EQ(no_option.Wait(), 2);
  EXPECT_THAT(no_option.Errors(), HasSubstr("--model"));
}

}  // namespace
}  // namespace fmaserver::testing
