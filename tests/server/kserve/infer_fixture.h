// A server of the inference protocol, and what its requests and answers hold.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "inference/grpc_service.grpc.pb.h"
#include "tests/server/rpc/test_server.h"

namespace fmaserver::testing {

using inference::ModelInferRequest;
using inference::ModelInferResponse;

/// Of `max_tokens` tokens behind `text`, by seed 7, with its contents raw.
ModelInferRequest InferRequest(const std::string& text, int64_t max_tokens = 20);

void AddRawInput(const std::string& name, const std::string& datatype, const std::string& raw,
                 ModelInferRequest& request);

/// As one element of BYTES: with its length before it.
std::string RawText(const std::string& text);

/// The element of a raw output; without it the test fails.
std::string OutputOf(const ModelInferResponse& response, const std::string& name);

class InferFixture : public ::testing::Test {
 protected:
  explicit InferFixture(service::CallPolicy policy = {});

  grpc::Status Infer(const ModelInferRequest& request, ModelInferResponse& response) {
    grpc::ClientContext context;
    return stub_->ModelInfer(&context, request, &response);
  }

  /// The native API's text for the same request.
  std::string Native(const std::string& text, uint32_t max_tokens = 20) {
    return Generate(server_.stub(), TextRequest(text, max_tokens)).Text();
  }

  TestServer server_;
  const std::unique_ptr<inference::GRPCInferenceService::Stub> stub_;
};

}  // namespace fmaserver::testing
