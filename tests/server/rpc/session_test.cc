// Sessions over real sockets: turns, forks, rewinds, blobs and restarts never change what a model
// says. Everything is compared with a server that is sent the whole history every time.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fma/v1/sessions.grpc.pb.h"
#include "tests/server/rpc/test_server.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;
using Tokens = std::vector<uint32_t>;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() { Restart(); }

  void Restart() {
    sessions_.reset();
    server_.reset();
    sessions::SessionOptions options;
    options.dir = folder_.path();
    // Memory for only a few states, so that most sessions are on disk.
    options.memory_bytes = 100'000;
    server_ = std::make_unique<TestServer>(
        ByteModelConfig(),
        engine::EngineOptions{.num_slots = 4, .max_queue = 64, .step_tokens = 37}, options);
    sessions_ = v1::Sessions::NewStub(server_->NewChannel());
  }

  std::string Create() {
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(sessions_->Create(&context, {}, &session).ok());
    return session.session_id();
  }

  grpc::Status Get(const std::string& id, v1::Session& session) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_session_id(id);
    return sessions_->Get(&context, request, &session);
  }

  void Fork(const std::string& id, uint32_t children, std::vector<std::string>& ids) {
    grpc::ClientContext context;
    v1::ForkSessionRequest request;
    request.set_session_id(id);
    request.set_children(children);
    v1::ForkSessionResponse response;
    const grpc::Status status = sessions_->Fork(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    for (const v1::Session& child : response.children()) ids.push_back(child.session_id());
  }

  uint64_t Rewind(const std::string& id, uint64_t tokens) {
    grpc::ClientContext context;
    v1::RewindSessionRequest request;
    request.set_session_id(id);
    request.set_tokens(tokens);
    v1::Session session;
    const grpc::Status status = sessions_->Rewind(&context, request, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session.tokens();
  }

  grpc::Status Delete(const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_session_id(id);
    v1::DeleteSessionResponse response;
    return sessions_->Delete(&context, request, &response);
  }

  std::string Export(const std::string& id, bool head_only) {
    grpc::ClientContext context;
    v1::ExportSessionRequest request;
    request.set_session_id(id);
    request.set_head_only(head_only);
    const auto reader = sessions_->Export(&context, request);
    std::string blob;
    v1::ExportSessionResponse response;
    while (reader->Read(&response)) blob += response.data();
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return blob;
  }

  grpc::Status Import(const std::string& blob, v1::Session& session) {
    grpc::ClientContext context;
    const auto writer = sessions_->Import(&context, &session);
    constexpr size_t kPiece = 5'000;
    for (size_t begin = 0; begin < blob.size(); begin += kPiece) {
      v1::ImportSessionRequest request;
      request.set_data(blob.substr(begin, kPiece));
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  /// The log-probabilities of the most likely next tokens, at every position of the answer.
  static std::string Distributions(const Generated& generated) {
    std::string all;
    for (const v1::Delta& delta : generated.deltas) {
      for (const v1::TopLogprobs& top : delta.top_logprobs()) all += top.SerializeAsString();
    }
    return all;
  }

  static v1::GenerateRequest Request(const Tokens& prompt, uint32_t max_tokens, uint64_t seed) {
    v1::GenerateRequest request;
    if (!prompt.empty()) {
      request.mutable_token_ids()->mutable_ids()->Add(prompt.begin(), prompt.end());
    }
    request.set_max_tokens(max_tokens);
    request.mutable_sampling()->set_seed(seed);
    request.set_top_logprobs(4);
    return request;
  }

  /// Runs a turn of the session, and compares it with one request that has all of `history` and the
  /// prompt.
  void CheckTurn(const std::string& id, Tokens& history, const Tokens& prompt, uint32_t max_tokens,
                 uint64_t seed) {
    v1::GenerateRequest turn = Request(prompt, max_tokens, seed);
    turn.set_session_id(id);
    const Generated answer = Generate(server_->stub(), turn);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    history.insert(history.end(), prompt.begin(), prompt.end());
    if (max_tokens > 0) {
      v1::GenerateRequest whole = Request(history, max_tokens, seed);
      whole.set_skip_prefix_cache(true);
      const Generated expected = Generate(server_->stub(), whole);
      ASSERT_TRUE(expected.status.ok()) << expected.status.error_message();
      ASSERT_EQ(answer.TokenIds(), expected.TokenIds());
      ASSERT_EQ(Distributions(answer), Distributions(expected));
    }
    const Tokens chosen = answer.TokenIds();
    history.insert(history.end(), chosen.begin(), chosen.end());
    ASSERT_EQ(answer.finished.size(), 1U);
    ASSERT_EQ(answer.finished[0].session().tokens(), history.size());
    ASSERT_TRUE(answer.finished[0].session().durable());
  }

  TempFolder folder_;
  std::unique_ptr<TestServer> server_;
  std::unique_ptr<v1::Sessions::Stub> sessions_;
};

Tokens RandomTokens(std::mt19937& random, size_t most) {
  Tokens tokens(1 + random() % most);
  for (uint32_t& token : tokens) token = random() % 256;
  return tokens;
}

// How many operations to run: what FMA_SESSION_OPERATIONS says, else few enough for every test run.
int Operations() {
  const char* wanted = std::getenv("FMA_SESSION_OPERATIONS");
  return wanted == nullptr ? 1'500 : std::atoi(wanted);
}

TEST_F(SessionTest, RandomOperationsEqualRunsFromTheTokens) {
  constexpr size_t kMaxSessions = 25;
  constexpr size_t kMaxTokens = 2'000;
  std::mt19937 random(11);
  std::map<std::string, Tokens> model;
  const auto any = [&] {
    auto it = model.begin();
    std::advance(it, random() % model.size());
    return it;
  };
  const int operations = Operations();
  for (int i = 0; i < operations && !HasFatalFailure(); ++i) {
    SCOPED_TRACE(i);
    const unsigned kind = model.empty() ? 0 : random() % 100;
    if (kind < 5) {
      model[Create()] = {};
    } else if (kind < 55) {
      auto& [id, history] = *any();
      const Tokens prompt =
          history.empty() || random() % 8 != 0 ? RandomTokens(random, 60) : Tokens();
      CheckTurn(id, history, prompt, random() % 20, random());
    } else if (kind < 65) {
      const auto [id, history] = *any();
      std::vector<std::string> children;
      Fork(id, 1 + random() % 3, children);
      for (const std::string& child : children) model[child] = history;
    } else if (kind < 80) {
      auto& [id, history] = *any();
      const uint64_t tokens = random() % (history.size() + 1);
      ASSERT_EQ(Rewind(id, tokens), tokens);
      history.resize(tokens);
    } else if (kind < 92) {
      const auto [id, history] = *any();
      v1::Session copy;
      const grpc::Status status = Import(Export(id, random() % 2 == 0), copy);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(copy.tokens(), history.size());
      model[copy.session_id()] = history;
    } else if (kind < 98) {
      const auto it = any();
      ASSERT_TRUE(Delete(it->first).ok());
      model.erase(it);
    } else {
      Restart();
    }
    while (model.size() > kMaxSessions || (!model.empty() && any()->second.size() > kMaxTokens)) {
      const auto it = any();
      ASSERT_TRUE(Delete(it->first).ok());
      model.erase(it);
    }
  }
  for (const auto& [id, history] : model) {
    v1::Session session;
    ASSERT_TRUE(Get(id, session).ok());
    EXPECT_EQ(session.tokens(), history.size());
  }
}

TEST_F(SessionTest, SecondGenerateIsAbortedAndNothingIsMixed) {
  const std::string id = Create();
  v1::GenerateRequest endless = TextRequest("a", 100'000'000);
  endless.set_session_id(id);
  grpc::ClientContext context;
  const auto reader = server_->stub().Generate(&context, endless);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  v1::GenerateRequest second = TextRequest("b", 1);
  second.set_session_id(id);
  EXPECT_EQ(Generate(server_->stub(), second).status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Delete(id).error_code(), grpc::StatusCode::ABORTED);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  Generated next;
  EXPECT_TRUE(Eventually([&] {
    next = Generate(server_->stub(), second);
    return next.status.ok();
  }));
  EXPECT_EQ(next.finished.at(0).session().tokens(), 2U) << "a cancelled turn leaves no trace";
}

TEST_F(SessionTest, UnusualTurnsAreRefusedWithReasons) {
  const std::string id = Create();
  const auto status = [&](auto change) {
    v1::GenerateRequest request = TextRequest("a", 1);
    request.set_session_id(id);
    change(request);
    return Generate(server_->stub(), request).status;
  };
  grpc::Status found = status([](auto& r) { r.set_session_id("no-such-session"); });
  EXPECT_EQ(found.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(found.error_message(), HasSubstr("no-such-session"));
  found = status([](auto& r) { r.clear_text(); });
  EXPECT_EQ(found.error_code(), grpc::StatusCode::FAILED_PRECONDITION) << found.error_message();
  found = status([](auto& r) { r.set_n(2); });
  EXPECT_EQ(found.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(found.error_message(), HasSubstr("fork"));
  found = status([](auto& r) { r.set_resume_token("x"); });
  EXPECT_EQ(found.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  found = status([](auto& r) {
    r.Clear();
    r.set_resume_token("x");
  });
  EXPECT_EQ(found.error_code(), grpc::StatusCode::NOT_FOUND) << found.error_message();
  v1::Session session;
  ASSERT_TRUE(Get(id, session).ok());
  EXPECT_EQ(session.tokens(), 0U);
}

TEST_F(SessionTest, DrainedStreamsGoOnElsewhereWithTheSameTokens) {
  std::mt19937 random(2);
  for (int i = 0; i < 12; ++i) {
    const std::string id = Create();
    Tokens history;
    CheckTurn(id, history, RandomTokens(random, 50), 10, i);
    const Tokens prompt = RandomTokens(random, 3'000);
    v1::GenerateRequest turn = Request(prompt, 3'000, i);
    turn.mutable_sampling()->set_repetition_penalty(1.05F);
    turn.mutable_sampling()->set_frequency_penalty(0.1F);
    std::vector<std::string> copy;
    Fork(id, 1, copy);
    turn.set_session_id(copy.at(0));
    const Generated expected = Generate(server_->stub(), turn);
    ASSERT_TRUE(expected.status.ok()) << expected.status.error_message();

    turn.set_session_id(id);
    Generated cut;
    std::thread client([&] { cut = Generate(server_->stub(), turn); });
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 60));
    server_->engine().Drain(absl::ZeroDuration());
    client.join();
    Restart();
    Tokens tokens = cut.TokenIds();
    std::string text = cut.Text();
    if (!cut.resume_token.empty()) {
      EXPECT_EQ(cut.status.error_code(), grpc::StatusCode::UNAVAILABLE);
      v1::GenerateRequest resume;
      resume.set_resume_token(cut.resume_token);
      const Generated rest = Generate(server_->stub(), resume);
      ASSERT_TRUE(rest.status.ok()) << rest.status.error_message();
      const Tokens more = rest.TokenIds();
      tokens.insert(tokens.end(), more.begin(), more.end());
      text += rest.Text();
      EXPECT_EQ(Generate(server_->stub(), resume).status.error_code(), grpc::StatusCode::NOT_FOUND)
          << "a token serves once";
    } else if (!cut.status.ok()) {
      EXPECT_EQ(cut.status.error_code(), grpc::StatusCode::UNAVAILABLE) << "refused before it ran";
      continue;
    }
    EXPECT_EQ(tokens, expected.TokenIds());
    EXPECT_EQ(text, expected.Text());
    history.insert(history.end(), prompt.begin(), prompt.end());
    history.insert(history.end(), tokens.begin(), tokens.end());
    CheckTurn(id, history, {1, 2, 3}, 10, i);
  }
}

}  // namespace
}  // namespace fmaserver::testing
