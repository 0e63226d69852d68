// Chats over real sockets: the wire, and what only it can get wrong.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::ChatRequest Question(const std::string& text) {
  v1::ChatRequest request;
  v1::ChatMessage& message = *request.add_messages();
  message.set_role("user");
  message.set_content(text);
  request.mutable_options()->set_max_tokens(4);
  request.mutable_options()->mutable_sampling()->set_temperature(0);
  return request;
}

Generated Chat(v1::Generation::Stub& stub, const v1::ChatRequest& request) {
  grpc::ClientContext context;
  return ReadAll(*stub.Chat(&context, request));
}

class ChatRpcTest : public ::testing::Test {
 protected:
  void ExpectInvalid(const std::function<void(v1::ChatRequest&)>& spoil,
                     const ::testing::Matcher<std::string>& message) {
    v1::ChatRequest request = Question("Hi");
    spoil(request);
    const grpc::Status status = Chat(server_.stub(), request).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_THAT(status.error_message(), message);
  }

  TestServer server_{ChatModelConfig(), {}, {}, {}, ChatTokenizer(), TestChatTemplate()};
};

TEST_F(ChatRpcTest, AnswersAsGenerateDoesForTheRenderedText) {
  const Generated chat = Chat(server_.stub(), Question("Hi"));
  ASSERT_TRUE(chat.status.ok()) << chat.status.error_message();
  ASSERT_EQ(chat.finished.size(), 1U);
  v1::GenerateRequest request = Question("Hi").options();
  const auto ids =
      ChatTokenizer()->Encode("<s>system\nBe kind.<|end|>\n<s>user\nHi<|end|>\n<s>assistant\n",
                              model::ControlTokens::kAreFound);
  request.mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
  EXPECT_EQ(chat.TokenIds(), Generate(server_.stub(), request).TokenIds());
  EXPECT_EQ(chat.finished[0].usage().prompt_tokens(), ids->size());
}

TEST_F(ChatRpcTest, TheModelIsNamedInTheOptions) {
  v1::ChatRequest request = Question("Hi");
  request.mutable_options()->set_model("test");
  EXPECT_TRUE(Chat(server_.stub(), request).status.ok());
  request.mutable_options()->set_model("other");
  const grpc::Status status = Chat(server_.stub(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("\"other\""));
}

TEST_F(ChatRpcTest, OptionsHaveNoPrompt) {
  const auto refused = AllOf(HasSubstr("options is set with a prompt"), HasSubstr("messages"));
  ExpectInvalid([](auto& request) { request.mutable_options()->set_text("a"); }, refused);
  ExpectInvalid([](auto& request) { request.mutable_options()->mutable_token_ids(); }, refused);
  ExpectInvalid([](auto& request) { request.mutable_options()->set_resume_token("a"); },
                HasSubstr("options is set with a resume_token"));
}

TEST_F(ChatRpcTest, OptionsAndMessagesAreCheckedAsEver) {
  ExpectInvalid([](auto& request) { request.mutable_options()->mutable_sampling()->set_top_p(2); },
                HasSubstr("top_p is 2"));
  ExpectInvalid([](auto& request) { request.clear_messages(); }, HasSubstr("messages is empty"));
  ExpectInvalid([](auto& request) { request.mutable_messages(0)->set_role("nobody"); },
                HasSubstr("nobody speaks"));
}

TEST_F(ChatRpcTest, AModelSaysWhetherItChats) {
  const auto chats = [](TestServer& server) {
    grpc::ClientContext context;
    v1::Model model;
    EXPECT_TRUE(server.stub().GetModel(&context, {}, &model).ok());
    return model.chat();
  };
  EXPECT_TRUE(chats(server_));
  TestServer other;
  EXPECT_FALSE(chats(other));
  const grpc::Status status = Chat(other.stub(), Question("Hi")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("chat template is missing"));
}

}  // namespace
}  // namespace fmaserver::testing
