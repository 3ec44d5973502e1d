"""What the shop keeps."""

from django.db import models

from loadtag.django import LoadTestField, LoadTestModel


class Customer(LoadTestModel):
    name = models.CharField(max_length=20)


class Product(models.Model):  # type: ignore[misc]  # Django is not typed
    """Load makes none, so it has no stamp."""


class Order(LoadTestModel):
    customer = models.ForeignKey(Customer, models.PROTECT)
    replaces = models.ForeignKey("self", models.SET_NULL, null=True)
    products = models.ManyToManyField(Product)


class Review(models.Model):  # type: ignore[misc]
    order = models.ForeignKey(Order, models.CASCADE)
    load_test = LoadTestField()  # by another name


class Shipment(models.Model):  # type: ignore[misc]
    order = models.ForeignKey(Order, models.CASCADE)


class Express(Order):
    """In two tables."""


class Late(Order):
    """An order seen in another way: the same rows."""

    class Meta:
        """No table."""

        proxy = True


class Basket(LoadTestModel):
    """Refers to what refers to it."""

    first = models.ForeignKey("Item", models.SET_NULL, null=True, related_name="+")


class Item(LoadTestModel):
    basket = models.ForeignKey(Basket, models.CASCADE)


class Category(LoadTestModel):
    above = models.ForeignKey("self", models.PROTECT, null=True)


class Note(models.Model):  # type: ignore[misc]
    """Nothing that it refers to can be deleted before it."""

    order = models.ForeignKey(Order, models.PROTECT)
    load_test_run = LoadTestField()
