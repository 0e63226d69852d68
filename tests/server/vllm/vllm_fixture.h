// A server of vLLM's services, and what its streams hold.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/server/rpc/test_server.h"
#include "vllm/control.grpc.pb.h"
#include "vllm/inference.grpc.pb.h"

namespace fmaserver::testing {

namespace wire = ::vllm;

/// Of the tokens of `text`, which are its bytes, drawn by seed 7; with ids and text.
wire::GenerateRequest TokensRequest(const std::string& text, uint32_t max_tokens = 20);

/// A whole stream.
struct Streamed {
  std::vector<wire::GenerateResponse> messages;
  grpc::Status status;

  std::vector<uint32_t> TokenIds() const;
  std::string Text() const;
  /// Of the only sequence.
  wire::FinishInfo Finish() const;
};

Streamed ReadAll(grpc::ClientReader<wire::GenerateResponse>& reader);

class VllmFixture : public ::testing::Test {
 protected:
  explicit VllmFixture(const model::ModelConfig& config = ByteModelConfig());

  Streamed Stream(const wire::GenerateRequest& request) {
    grpc::ClientContext context;
    return ReadAll(*stub_->GenerateStream(&context, request));
  }

  TestServer server_;
  const std::unique_ptr<wire::Inference::Stub> stub_;
  const std::unique_ptr<wire::Control::Stub> control_;
};

}  // namespace fmaserver::testing
