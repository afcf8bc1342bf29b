// What the bindings of every module take from Python: addresses and sizes, nothing else. Python
// checks shapes, dtypes and contiguity.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

// What Python hands over: the address of a tensor's first element, 0 where there is none.
struct Address {
  std::uintptr_t value;
  template <class T>
  operator T*() const {
    return reinterpret_cast<T*>(value);
  }
};

namespace pybind11::detail {
template <>
struct type_caster<Address> {
  PYBIND11_TYPE_CASTER(Address, const_name("int"));
  bool load(handle source, bool) {
    value.value = PyLong_AsSize_t(source.ptr());
    return !PyErr_Occurred();
  }
};
}  // namespace pybind11::detail

using without_gil = pybind11::call_guard<pybind11::gil_scoped_release>;
