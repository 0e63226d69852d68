// What load balancers are told of sessions, by the client library and by the tool.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "clients/cpp/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/clients/process.h"

namespace fmaserver::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Ends a call of any method at once: with an empty message, or with an error.
class Answer final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Answer(bool ok) {
    if (ok) {
      StartWriteAndFinish(&empty_, {}, grpc::Status::OK);
    } else {
      Finish({grpc::StatusCode::NOT_FOUND, "nothing here"});
    }
  }
  void OnDone() override { delete this; }

 private:
  const grpc::Slice nothing_;
  const grpc::ByteBuffer empty_{&nothing_, 1};
};

/// A server that has a model and nothing else, and remembers which sessions calls named in their
/// metadata.
class Listener final : public grpc::CallbackGenericService {
 public:
  Listener() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
  }
  ~Listener() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  /// By the last part of the method's name, those of each call.
  std::map<std::string, std::vector<std::string>> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(heard_, {});
  }

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const std::lock_guard lock(mutex_);
    const std::string method = context->method().substr(context->method().rfind('/') + 1);
    auto& sessions = heard_[method];
    const auto [begin, end] = context->client_metadata().equal_range("x-session-id");
    for (auto value = begin; value != end; ++value) {
      sessions.emplace_back(value->second.data(), value->second.size());
    }
    return new Answer(/*ok=*/method == "GetModel");
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> heard_;  // guarded by mutex_
};

template <class Request>
Request Named(const std::string& session) {
  Request request;
  request.set_session_id(session);
  return request;
}

/// Calls each method that has a session, with this one.
void CallAll(client::Client& client, const std::string& id) {
  const auto ignore = [](const auto&) {};
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  const auto next = [&contexts]() -> grpc::ClientContext& {
    return *contexts.emplace_back(std::make_unique<grpc::ClientContext>());
  };
  v1::ChatRequest chat;
  chat.mutable_options()->set_session_id(id);
  EXPECT_FALSE(client.Generate(next(), Named<v1::GenerateRequest>(id), ignore).ok());
  EXPECT_FALSE(client.Chat(next(), chat, ignore).ok());
  EXPECT_FALSE(client.CreateSession(next(), Named<v1::CreateSessionRequest>(id)).ok());
  EXPECT_FALSE(client.GetSession(next(), Named<v1::GetSessionRequest>(id)).ok());
  EXPECT_FALSE(client.UpdateSession(next(), Named<v1::UpdateSessionRequest>(id)).ok());
  EXPECT_FALSE(client.ForkSession(next(), Named<v1::ForkSessionRequest>(id)).ok());
  EXPECT_FALSE(client.RewindSession(next(), Named<v1::RewindSessionRequest>(id)).ok());
  EXPECT_FALSE(client.DeleteSession(next(), Named<v1::DeleteSessionRequest>(id)).ok());
  EXPECT_FALSE(client.ExportSession(next(), Named<v1::ExportSessionRequest>(id), ignore).ok());
  EXPECT_FALSE(client
                   .ImportSession(next(), Named<v1::CreateSessionRequest>(id),
                                  [](std::string&) { return false; })
                   .ok());
}

TEST(SessionIdTest, EveryCallAboutASessionNamesItToBalancers) {
  Listener listener;
  client::Client client(listener.address());
  CallAll(client, "story-1");
  const auto heard = listener.Take();
  EXPECT_EQ(heard.size(), 10U);
  for (const auto& [method, sessions] : heard) {
    EXPECT_THAT(sessions, ElementsAre("story-1")) << method;
  }
}

// It would end the process, or break the connection.
TEST(SessionIdTest, WhatIsNoIdIsNotSentAsMetadata) {
  Listener listener;
  client::Client client(listener.address());
  for (const std::string id : {"", "no id \n"}) {
    CallAll(client, id);
    for (const auto& [method, sessions] : listener.Take()) {
      EXPECT_THAT(sessions, IsEmpty()) << method << " " << id;
    }
  }
}

TEST(SessionIdTest, TheToolNamesTheSession) {
  Listener listener;
  const std::string tool = absl::StrCat(FMA_BIN_DIR, "/fma");
  Process show({tool, "sessions", "show", "story-2", "--server", listener.address()});
  EXPECT_NE(show.Wait(), 0);
  EXPECT_THAT(listener.Take()["Get"], ElementsAre("story-2"));
  Process ask({tool, "generate", "--token-ids", "[1]", "--session", "story-3", "--server",
               listener.address()});
  EXPECT_NE(ask.Wait(), 0);
  EXPECT_THAT(listener.Take()["Generate"], ElementsAre("story-3"));
}

}  // namespace
}  // namespace fmaserver::testing
