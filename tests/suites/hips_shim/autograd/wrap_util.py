"""autograd's helper for operators on functions of several arguments."""



def get_name(f):
    return getattr(f, "__name__", "[unknown name]")
