// The Sessions service alone, over a real socket: fields, pages, and what it refuses.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "fma/v1/sessions.grpc.pb.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::HasSubstr;

class SessionsServiceTest : public ::testing::Test {
 protected:
  grpc::Status Create(const v1::CreateSessionRequest& request, v1::Session& session) {
    grpc::ClientContext context;
    return sessions_->Create(&context, request, &session);
  }

  grpc::Status Create(const std::string& id) {
    v1::CreateSessionRequest request;
    request.set_session_id(id);
    v1::Session session;
    return Create(request, session);
  }

  grpc::Status Get(const std::string& id, v1::Session& session) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_session_id(id);
    return sessions_->Get(&context, request, &session);
  }

  void Talk(const std::string& id, const std::string& text) {
    v1::GenerateRequest request = TextRequest(text, 5);
    request.set_session_id(id);
    const Generated answer = Generate(server_.stub(), request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  }

  std::string Export(const std::string& id) {
    grpc::ClientContext context;
    v1::ExportSessionRequest request;
    request.set_session_id(id);
    const auto reader = sessions_->Export(&context, request);
    std::string blob;
    v1::ExportSessionResponse response;
    while (reader->Read(&response)) blob += response.data();
    EXPECT_TRUE(reader->Finish().ok());
    return blob;
  }

  grpc::Status Import(const std::vector<v1::ImportSessionRequest>& messages, v1::Session& session) {
    grpc::ClientContext context;
    const auto writer = sessions_->Import(&context, &session);
    for (const v1::ImportSessionRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  TestServer server_;
  std::unique_ptr<v1::Sessions::Stub> sessions_ = v1::Sessions::NewStub(server_.NewChannel());
};

TEST_F(SessionsServiceTest, ASessionTellsWhatItHolds) {
  v1::CreateSessionRequest request;
  request.set_session_id("talk");
  request.set_ttl_seconds(60);
  request.set_pinned(true);
  v1::Session session;
  ASSERT_TRUE(Create(request, session).ok());
  EXPECT_EQ(session.session_id(), "talk");
  EXPECT_EQ(session.tokens(), 0U);
  EXPECT_EQ(session.ttl_seconds(), 60);
  EXPECT_TRUE(session.pinned());
  EXPECT_FALSE(session.durable()) << "there is no directory";
  Talk("talk", "hello");
  ASSERT_TRUE(Get("talk", session).ok());
  EXPECT_EQ(session.tokens(), 10U);
  EXPECT_EQ(session.place(), v1::Session::PLACE_IN_MEMORY);
  EXPECT_GE(session.rewind_points_size(), 1);
  EXPECT_EQ(session.bytes(), static_cast<uint64_t>(session.rewind_points_size() *
                                                   server_.engine().model().slot_bytes()));
  EXPECT_EQ(session.log_begin(), 0U);
  EXPECT_EQ(Create("talk").error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(Get("other", session).error_code(), grpc::StatusCode::NOT_FOUND);

  grpc::ClientContext context;
  v1::UpdateSessionRequest update;
  update.set_session_id("talk");
  update.set_pinned(false);
  ASSERT_TRUE(sessions_->Update(&context, update, &session).ok());
  EXPECT_FALSE(session.pinned());
  EXPECT_EQ(session.ttl_seconds(), 60);
}

TEST_F(SessionsServiceTest, PagesFollowEachOther) {
  for (const char* id : {"e", "b", "d", "a", "c"}) ASSERT_TRUE(Create(id).ok());
  v1::ListSessionsRequest request;
  request.set_page_size(2);
  std::string found;
  do {
    grpc::ClientContext context;
    v1::ListSessionsResponse page;
    ASSERT_TRUE(sessions_->List(&context, request, &page).ok());
    EXPECT_LE(page.sessions_size(), 2);
    for (const v1::Session& session : page.sessions()) found += session.session_id();
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(found, "abcde");
}

TEST_F(SessionsServiceTest, BadRequestsSayWhatIsAllowed) {
  ASSERT_TRUE(Create("talk").ok());
  const auto refused = [](const grpc::Status& status, const char* part) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(part));
    EXPECT_THAT(status.error_message(), HasSubstr("; allowed: "));
  };
  v1::Session session;
  refused(Create("a b"), "session_id is \"a b\"");
  refused(Get("", session), "session_id");
  v1::CreateSessionRequest create;
  create.set_ttl_seconds(-1);
  refused(Create(create, session), "ttl_seconds");
  for (const uint32_t size : {0, 1001}) {
    grpc::ClientContext context;
    v1::ListSessionsRequest request;
    request.set_page_size(size);
    v1::ListSessionsResponse page;
    refused(sessions_->List(&context, request, &page), "page_size");
  }
  for (const uint32_t children : {0U, 1001U, 4'000'000'000U}) {
    grpc::ClientContext context;
    v1::ForkSessionRequest request;
    request.set_session_id("talk");
    request.set_children(children);
    v1::ForkSessionResponse response;
    refused(sessions_->Fork(&context, request, &response), "children");
  }
  for (const uint64_t tokens : {uint64_t{1}, ~uint64_t{0}}) {
    grpc::ClientContext context;
    v1::RewindSessionRequest request;
    request.set_session_id("talk");
    request.set_tokens(tokens);
    refused(sessions_->Rewind(&context, request, &session), "allowed: 0 to 0");
  }
}

TEST_F(SessionsServiceTest, ABlobBecomesTheSessionThatTheFirstMessageNames) {
  ASSERT_TRUE(Create("talk").ok());
  Talk("talk", "hello");
  const std::string blob = Export("talk");
  std::vector<v1::ImportSessionRequest> messages(3);
  messages[0].mutable_session()->set_session_id("copy");
  messages[0].mutable_session()->set_ttl_seconds(7);
  messages[1].set_data(blob.substr(0, 100));
  messages[1].mutable_session()->set_session_id("ignored");
  messages[2].set_data(blob.substr(100));
  v1::Session session;
  ASSERT_TRUE(Import(messages, session).ok());
  EXPECT_EQ(session.session_id(), "copy");
  EXPECT_EQ(session.ttl_seconds(), 7);
  EXPECT_EQ(session.tokens(), 10U);
  EXPECT_EQ(Import(messages, session).error_code(), grpc::StatusCode::ALREADY_EXISTS);
}

TEST_F(SessionsServiceTest, ABadBlobIsRefused) {
  ASSERT_TRUE(Create("talk").ok());
  Talk("talk", "hello");
  std::string blob = Export("talk");
  v1::Session session;
  EXPECT_EQ(Import({}, session).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::ImportSessionRequest message;
  message.set_data(blob.substr(0, blob.size() - 1));
  grpc::Status status = Import({message}, session);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("ends too early"));
  blob[blob.size() / 2] ^= 1;
  message.set_data(blob);
  status = Import({message, message, message}, session);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("damaged"));
  // The next one is served.
  EXPECT_TRUE(Get("talk", session).ok());
}

TEST_F(SessionsServiceTest, AClientThatLeavesInTheMiddleLeavesNothing) {
  ASSERT_TRUE(Create("talk").ok());
  Talk("talk", "hello");
  const std::string blob = Export("talk");
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    v1::Session session;
    const auto writer = sessions_->Import(&context, &session);
    v1::ImportSessionRequest message;
    message.mutable_session()->set_session_id("half");
    message.set_data(blob.substr(0, blob.size() / 2));
    writer->Write(message);
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);

    grpc::ClientContext second;
    v1::ExportSessionRequest request;
    request.set_session_id("talk");
    const auto reader = sessions_->Export(&second, request);
    second.TryCancel();
    (void)reader->Finish();  // the blob may have been faster
  }
  v1::Session session;
  EXPECT_EQ(Get("half", session).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Export("talk"), blob);
}

}  // namespace
}  // namespace fmaserver::testing
